"""A registry as one SQLite file, whatever database it is in: the form that backups have.

So a backup of a registry in PostgreSQL can be restored into SQLite, and the other way round. Sees
this party's salts. The file is as private as the registry.
"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from parties.party.models.database import connect, sqlite_file, unusable
from parties.party.models.migrations import bring_up_to_date, newest, version_of
from parties.party.models.ownership import own
from parties.party.models.tables import Base, Meta
from privedge.errors import ConfigError, DatabaseAway, Unreachable
from privedge.private_file import sync_folder

_ROWS_AT_ONCE = 500


def save(url: str, to: Path) -> None:
    """Write a registry, as it is at one moment, to the file `to`. A party may use it meanwhile.

    Raises ConfigError if it cannot be read.
    """
    to.unlink(missing_ok=True)
    file = sqlite_file(url)
    if file is None:
        _save_rows(url, to)
    else:
        _save_file(file, to)
    os.chmod(to, 0o600)


def load(source: Path, url: str) -> None:
    """Put a saved registry into a database that has none. Raises ConfigError, and then none is
    there.
    """
    require_none(url)
    file = sqlite_file(url)
    if file is not None:
        copy(source, file)
        return
    with tempfile.TemporaryDirectory() as folder:
        mine = Path(folder) / "registry.sqlite"
        copy(source, mine)  # it may be an older release's, and a backup is never changed
        with _file(mine) as rows, _owned(url) as connection:
            bring_up_to_date(rows)
            if version_of(connection) is not None:
                raise _is_there(url)
            bring_up_to_date(connection)
            _copy_rows(rows, connection)


def require_none(url: str) -> None:
    """Raise ConfigError if there is a registry already."""
    file = sqlite_file(url)
    if file is not None:
        if file.exists():
            raise _is_there(url)
        return
    with _reading(url) as connection:
        if version_of(connection) is not None:
            raise _is_there(url)


def copy(source: Path, target: Path) -> None:
    """Copy a file; on return it is on disk, and only this user may read it."""
    shutil.copyfile(source, target)
    os.chmod(target, 0o600)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    sync_folder(target.parent)


def _is_there(url: str) -> ConfigError:
    where = sqlite_file(url) or "registry: this database's registry"
    return ConfigError(f"{where}: is there already; move it away, and restore beside it")


def _save_file(file: Path, to: Path) -> None:
    address = f"file:{quote(str(file.absolute()))}?mode=rw"  # or it would be created
    try:
        with (
            closing(sqlite3.connect(address, uri=True)) as source,
            closing(sqlite3.connect(to)) as target,
        ):
            source.backup(target)
            # One file that can be read where nothing can be written.
            target.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise ConfigError(f"{file}: cannot be copied ({error.sqlite_errorname})") from None


def _save_rows(url: str, to: Path) -> None:
    with _reading(url) as source:
        version = version_of(source)
        if version != newest():
            raise ConfigError(
                f"registry: has schema version {version or 'none'}, and a backup needs {newest()}; "
                "start the party once, or back up with the release that wrote it"
            )
        with _file(to) as target:
            bring_up_to_date(target)
            _copy_rows(source, target)
    with closing(sqlite3.connect(to)) as file:
        file.execute("PRAGMA journal_mode=DELETE")


def _copy_rows(source: Connection, target: Connection) -> None:
    for table in Base.metadata.sorted_tables:
        if table.name == Meta.__tablename__:
            continue
        for rows in source.execute(select(table)).mappings().partitions(_ROWS_AT_ONCE):
            target.execute(table.insert(), [dict(row) for row in rows])


@contextmanager
def _reading(url: str) -> Iterator[Connection]:
    """One moment of a database. Raises ConfigError."""
    engine = connect(url, patient=True)
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        raise unusable(error) from None
    finally:
        engine.dispose()


@contextmanager
def _file(path: Path) -> Iterator[Connection]:
    """One transaction of an SQLite file that nobody else knows. Raises ConfigError."""
    engine = connect(f"sqlite:///{path}")
    try:
        with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        raise unusable(error) from None
    finally:
        engine.dispose()


@contextmanager
def _owned(url: str) -> Iterator[Connection]:
    """One transaction of the only process that may change a database. Raises ConfigError."""
    engine = connect(url)
    try:
        with (
            closing(own(engine, sqlite_file(url))) as owner,
            owner.writing() as connection,
            connection.begin(),
        ):
            yield connection
    except DBAPIError as error:
        raise unusable(error) from None
    except Unreachable as error:
        raise DatabaseAway(str(error)) from None
    finally:
        engine.dispose()
