"""The tables of a registry, and how a database is opened, brought up to date and checked.

Sees public facts, and this party's salt of each model, which the other party must not learn.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    BigInteger,
    Index,
    LargeBinary,
    String,
    Text,
    and_,
    create_engine,
    event,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, foreign, mapped_column, relationship
from sqlalchemy.orm.attributes import set_committed_value

from parties.at_rest.vault import SALT_FORMS
from privedge.errors import ConfigError
from privedge.sharing.manifest import ModelManifest

# Raised when an older release could not read the tables any more, or would misread them. Version 1
# had no `state_folder`: its releases would change models without raising the epoch. Version 2 had
# no `refreshed_shares`: its releases would take refreshed shares for damaged ones.
SCHEMA_VERSION = 3
# What a damaged registry asks for. There is no mending it in place.
_PUT_BACK = "put the newest backup of it back (`python -m parties restore`)"


class State(StrEnum):
    """Where a model is in its life."""

    UPLOADED = "uploaded"  # this party has its share
    PREPARED = "prepared"  # party 1 only: its manifest equals party 0's
    ACTIVE = "active"  # asked by every query of its cohort
    QUARANTINED = "quarantined"  # left out while either party's share of it is damaged
    RETIRED = "retired"  # no longer asked; its share waits in the trash, or is gone
    DELETED = "deleted"  # a tombstone, never listed


# The states in which a party must have the share.
LIVE = (State.UPLOADED, State.PREPARED, State.ACTIVE, State.QUARANTINED)


class Base(DeclarativeBase):
    """All tables."""


class Meta(Base):
    """One row. A database without this table has version 1, which had none."""

    __tablename__ = "meta"
    schema_version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class FolderRow(Base):
    """One row: the state folder that this registry belongs to, and the epochs of both parties."""

    __tablename__ = "state_folder"
    folder: Mapped[str] = mapped_column(String(32), primary_key=True)
    party: Mapped[int]
    # Empty until the parties have met.
    deployment: Mapped[str] = mapped_column(String(32))
    epoch: Mapped[int] = mapped_column(BigInteger)
    # The highest epoch that the other party has said.
    peer_epoch: Mapped[int] = mapped_column(BigInteger)


class RefreshedShare(Base):
    """One refreshed share of a model, in use or only prepared (docs/adr/0020-shares-at-rest.md)."""

    __tablename__ = "refreshed_shares"
    model_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    version: Mapped[str] = mapped_column(String(32), primary_key=True)
    in_use: Mapped[bool]
    # As the party's vault keeps it. The salt of the share in use is in its model's row.
    salt: Mapped[bytes] = mapped_column(LargeBinary(max(SALT_FORMS)))
    # A JSON list: the commitment (hex) to each tensor of this party's share, in manifest order.
    commitments_json: Mapped[str] = mapped_column(Text)
    # Seconds since 1970, UTC.
    created_at: Mapped[int] = mapped_column(BigInteger)


class Model(Base):
    """One uploaded model. Instances handed out are detached: plain values.

    A row has no repr of its own, so `salt` is in none.
    """

    __tablename__ = "models"
    model_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    cohort: Mapped[str] = mapped_column(String(64))
    owner: Mapped[str] = mapped_column(String(255))
    state: Mapped[str] = mapped_column(String(16))
    manifest_json: Mapped[str] = mapped_column(Text)
    manifest_digest: Mapped[str] = mapped_column(String(64))
    # As the party's vault keeps it; empty once the share is gone.
    salt: Mapped[bytes] = mapped_column(LargeBinary(max(SALT_FORMS)))
    # Seconds since 1970, UTC.
    created_at: Mapped[int] = mapped_column(BigInteger)
    # The refreshed share in use; None for the share that was uploaded.
    refreshed: Mapped[RefreshedShare | None] = relationship(
        primaryjoin=lambda: and_(
            Model.model_id == foreign(RefreshedShare.model_id), RefreshedShare.in_use
        ),
        lazy="joined",
        uselist=False,
        viewonly=True,
    )

    @property
    def version(self) -> str:
        """Which refresh of the share is in use; empty if there never was one."""
        return self.refreshed.version if self.refreshed else ""

    @property
    def commitments(self) -> tuple[str, ...]:
        """To this party's refreshed share (hex); empty if the manifest's hold."""
        return tuple(json.loads(self.refreshed.commitments_json)) if self.refreshed else ()

    @property
    def share_since(self) -> int:
        """When the present share was made, in seconds since 1970."""
        return self.refreshed.created_at if self.refreshed else self.created_at

    @property
    def manifest(self) -> ModelManifest:
        """The manifest of the upload."""
        return ModelManifest.from_json(self.manifest_json)

    @property
    def share_bytes(self) -> int:
        """Size of the share file this model has or had."""
        return self.manifest.share_bytes


_ACTIVE_ROWS = text(f"state = '{State.ACTIVE}'")
# The database itself refuses a second active model of one owner in one cohort.
Index(
    "one_active_model",
    Model.cohort,
    Model.owner,
    unique=True,
    sqlite_where=_ACTIVE_ROWS,
    postgresql_where=_ACTIVE_ROWS,
)


# Read without sessions: these must not change a registry.
_MODELS, _FOLDERS = Base.metadata.tables["models"], Base.metadata.tables["state_folder"]
_REFRESHED = Base.metadata.tables["refreshed_shares"]
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


def sqlite_file(url: str) -> Path | None:
    """The file behind an SQLAlchemy URL; None if it is another database. Raises ConfigError."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _no_url() from None
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, ":memory:")
    return Path(str(parsed.database)) if is_file else None


def look(url: str) -> Look:
    """Read a registry without changing it, and check it. Raises ConfigError: it cannot be opened,
    is damaged, or a newer release has written it.
    """
    file = sqlite_file(url)
    if file is not None and not (file.exists() and file.stat().st_size):
        return Look(None, {})  # connecting would create the file
    return _look(connect(url))


def look_at(file: Path) -> Look:
    """The same for a SQLite file that is not in use and may not be writable, as in a backup."""
    return _look(_reading(file))


def live_rows(url: str) -> list[Model]:
    """Every model of a registry that has a share, with its salt. Raises ConfigError."""
    with _reads(connect(url)) as connection:
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
            raise ConfigError(f"registry: {fault}; {_PUT_BACK}")
        rows = connection.execute(select(Model.model_id, Model.state))
        states = {model_id: state for model_id, state in rows}
        return Look(_holder(connection), states, _live(connection, _SOME))


def _live(connection: Connection, limit: int | None = None) -> list[Model]:
    wanted = select(_MODELS).where(Model.state.in_(LIVE)).order_by(Model.model_id).limit(limit)
    models = [Model(**row) for row in connection.execute(wanted).mappings()]
    if inspect(connection).has_table(RefreshedShare.__tablename__):
        rows = connection.execute(select(_REFRESHED).where(RefreshedShare.in_use)).mappings()
        refreshed = {row["model_id"]: RefreshedShare(**row) for row in rows}
        for model in models:
            set_committed_value(model, "refreshed", refreshed.get(model.model_id))
    return models


@contextmanager
def _reads(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        raise _unusable(error) from None
    finally:
        engine.dispose()


def _reading(file: Path) -> Engine:
    if not file.is_file():
        raise ConfigError(f"{file}: is not there")
    address = f"file:{quote(str(file.absolute()))}?mode=ro&uri=true"
    return create_engine(f"sqlite:///{address}", hide_parameters=True)


def connect(url: str) -> Engine:
    """An engine on the database. Raises ConfigError when the URL cannot be used."""
    try:
        # Errors of the database repeat what was written, salts included, unless told not to.
        engine = create_engine(make_url(url), hide_parameters=True)
    except ArgumentError:
        raise _no_url() from None
    except ModuleNotFoundError as error:
        raise ConfigError(f"registry_url: install the database driver {error.name}") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _make_durable)
    return engine


def open_engine(url: str) -> Engine:
    """An engine on the database with all tables there. Raises ConfigError, before any change, if a
    newer release has written it.
    """
    engine = connect(url)
    try:
        with engine.begin() as connection:
            _bring_up_to_date(connection)
    except DBAPIError as error:
        raise _unusable(error) from None
    return engine


def version_of(connection: Connection) -> int | None:
    """The version of its schema, None if it has no tables yet. Raises ConfigError if this release
    cannot read it.
    """
    tables = inspect(connection)
    version = None
    if tables.has_table(Meta.__tablename__):
        version = connection.scalar(select(func.max(Meta.schema_version)))
    if version is None:
        return 1 if tables.has_table(Model.__tablename__) else None
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"registry: has schema version {version}, this release reads {SCHEMA_VERSION}; "
            "start the release that wrote it, or restore its backup"
        )
    return int(version)


def faults(connection: Connection) -> Iterator[str]:
    """What is wrong with a registry of a version that this release reads: a text for each fault."""
    if connection.dialect.name == "sqlite":
        for (said,) in connection.exec_driver_sql("PRAGMA integrity_check(10)"):
            if said != "ok":
                yield f"its file is damaged ({' '.join(str(said).split())[:80]})"
                return
    for row in connection.execute(select(_MODELS)):
        if not _plausible(row):
            yield f"the entry of model {str(row.model_id)[:32]!a} is damaged"


def is_full(error: DBAPIError) -> bool:
    """Whether the database had no room, or no permission, for another byte."""
    name = getattr(error.orig, "sqlite_errorname", "")
    # A quota and a limit on file sizes end a write of SQLite as an I/O error.
    full = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE")
    state: Any = getattr(error.orig, "sqlstate", "")  # PostgreSQL's
    return name in full or state == "53100"


def erase_old_pages(engine: Engine) -> None:
    """Leave no old page in SQLite's write-ahead log, where a replaced salt would stay for a while.

    If a reader is in the way, the next checkpoint does it.
    """
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def _plausible(row: Any) -> bool:
    try:
        manifest = ModelManifest.from_json(row.manifest_json)
        told = (manifest.model_id, manifest.cohort, manifest.owner, manifest.digest())
        kept = (row.model_id, row.cohort, row.owner, row.manifest_digest)
        live = State(row.state) in LIVE
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return False
    return told == kept and (len(row.salt) in SALT_FORMS if live or row.salt else True)


def _holder(connection: Connection) -> FolderRow | None:
    if not inspect(connection).has_table(FolderRow.__tablename__):
        return None
    row = connection.execute(select(_FOLDERS)).mappings().first()
    return None if row is None else FolderRow(**row)


def _bring_up_to_date(connection: Connection) -> None:
    """Create what is missing."""
    version = version_of(connection)
    Base.metadata.create_all(connection)
    if connection.scalar(select(func.max(Meta.schema_version))) is None:
        connection.execute(insert(Meta).values(schema_version=SCHEMA_VERSION))
    elif version != SCHEMA_VERSION:
        connection.execute(update(Meta).values(schema_version=SCHEMA_VERSION))


def _make_durable(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    # A salt that is replaced or forgotten is overwritten, not only left out.
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


def _no_url() -> ConfigError:
    return ConfigError("registry_url: not a database URL; see SQLAlchemy's URL format")


def _unusable(error: DBAPIError) -> ConfigError:
    # Only the kind: the driver's own text may repeat the URL and its password.
    kind = type(error.orig).__name__
    if kind == "DatabaseError" and hasattr(error.orig, "sqlite_errorname"):
        return ConfigError(f"registry: its file is damaged; {_PUT_BACK}")
    if is_full(error):
        return ConfigError("registry: cannot open it, the disk is full; free some space")
    return ConfigError(f"registry: cannot open it ({kind})")
