"""What a registry holds, read and checked before anybody changes it.

Sees public facts, and this party's salt of each model, which the other party must not learn.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Table, create_engine, inspect, select
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from parties.party.models.database import PUT_BACK, connect, sqlite_file, unusable
from parties.party.models.migrations import version_of
from parties.party.models.tables import LIVE, Base, FolderRow, Model, State
from privedge.errors import ConfigError
from privedge.sharing.manifest import SALT_BYTES, ModelManifest

# Read without sessions: these must not change a registry.
_MODELS, _FOLDERS = (Base.metadata.tables[name] for name in ("models", "state_folder"))
_SOME = 16


@dataclass(frozen=True)
class Look:
    """What a database holds before anybody changes it.

    holder: the state folder that it belongs to; None in a new database or one of version 1.
    states: the state of every model that it ever had, by id.
    some: a few models that have a share, with their salts.
    """

    holder: FolderRow | None
    states: dict[str, str]
    some: Sequence[Model] = ()


def look(url: str) -> Look:
    """Read a registry without changing it, and check it. Raises ConfigError: it cannot be opened,
    is damaged, or a newer release has written it.
    """
    file = sqlite_file(url)
    if file is not None and not (file.exists() and file.stat().st_size):
        return Look(None, {})  # connecting would create the file
    return _look(connect(url, patient=True))


def look_at(file: Path) -> Look:
    """The same for a SQLite file that is not in use and may not be writable, as in a backup."""
    return _look(_reading(file))


def live_rows(url: str) -> list[Model]:
    """Every model of a registry that has a share, with its salt. Raises ConfigError."""
    with _reads(connect(url, patient=True)) as connection:
        return _live(connection)


def live_models(file: Path) -> list[Model]:
    """The same for a SQLite file that is not in use, after a check. Raises ConfigError."""
    look_at(file)
    with _reads(_reading(file)) as connection:
        return _live(connection)


def _look(engine: Engine) -> Look:
    with _reads(engine) as connection:
        if version_of(connection) is None:
            return Look(None, {})
        for fault in faults(connection):
            raise ConfigError(f"registry: {fault}; {PUT_BACK}")
        rows = connection.execute(select(Model.model_id, Model.state))
        states = {model_id: state for model_id, state in rows}
        return Look(holder(connection), states, _live(connection, _SOME))


def _live(connection: Connection, limit: int | None = None) -> list[Model]:
    wanted = (
        select(*_there(connection, _MODELS))
        .where(Model.state.in_(LIVE))
        .order_by(Model.model_id)
        .limit(limit)
    )
    return [Model(**row) for row in connection.execute(wanted).mappings()]


def _there(connection: Connection, table: Table) -> list[Any]:
    """The columns of a table that a registry of an older release has too."""
    names = {each["name"] for each in inspect(connection).get_columns(table.name)}
    return [column for column in table.columns if column.name in names]


@contextmanager
def _reads(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        raise unusable(error) from None
    finally:
        engine.dispose()


def _reading(file: Path) -> Engine:
    if not file.is_file():
        raise ConfigError(f"{file}: is not there")
    address = f"file:{quote(str(file.absolute()))}?mode=ro&uri=true"
    return create_engine(f"sqlite:///{address}", hide_parameters=True)


def faults(connection: Connection) -> Iterator[str]:
    """What is wrong with a registry of a version that this release reads: a text for each fault."""
    if connection.dialect.name == "sqlite":
        for (said,) in connection.exec_driver_sql("PRAGMA integrity_check(10)"):
            if said != "ok":
                yield f"its file is damaged ({' '.join(str(said).split())[:80]})"
                return
    for row in connection.execute(select(*_there(connection, _MODELS))):
        if not _plausible(row):
            yield f"the entry of model {str(row.model_id)[:32]!a} is damaged"


def _plausible(row: Any) -> bool:
    try:
        manifest = ModelManifest.from_json(row.manifest_json)
        told = (manifest.model_id, manifest.cohort, manifest.owner, manifest.digest())
        kept = (row.model_id, row.cohort, row.owner, row.manifest_digest)
        live = State(row.state) in LIVE
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return False
    return told == kept and len(row.salt) == (SALT_BYTES if live or row.salt else 0)


def holder(connection: Connection) -> FolderRow | None:
    """The state folder that a registry belongs to; None in a new one or one of version 1."""
    if not inspect(connection).has_table(FolderRow.__tablename__):
        return None
    row = connection.execute(select(*_there(connection, _FOLDERS))).mappings().first()
    return None if row is None else FolderRow(**row)
