"""The database of a registry: how it is opened, and what its errors mean.

Sees everything in it, and the database's password; neither may be in an error.
"""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoneFree

from privedge.errors import ConfigError, DatabaseAway

# What a damaged registry asks for. There is no mending it in place.
PUT_BACK = "put the newest backup of it back (`python -m parties restore`)"
SQLITE, POSTGRESQL = "sqlite", "postgresql"
# The execution option of a connection whose transactions write.
WRITES = "privedge_writes"
# How long SQLite waits for another process that writes.
_BUSY_MS = 5000
# Without a driver's name, SQLAlchemy 2.0 would take psycopg2.
_DRIVERS = {"postgresql": "postgresql+psycopg", "sqlite": "sqlite"}

# What PostgreSQL says, in any of its languages that has the code or the word, and what we say. The
# text itself may name hosts and users, and is never repeated. The first kind lasts until somebody
# acts, and the second may pass by itself.
_LASTING = (
    (r"password|authentication|pg_hba|certificate", "it refuses this user, password or connection"),
    (r"database \S+ does not exist", "it has no database of that name"),
    (r"permission denied", "its user may not do that; make it the owner of the database"),
)
_PASSING = (
    (r"too many|remaining connection slots", "it has no connection free"),
    (r"starting up|shutting down|recovery", "it is starting or ending"),
    (r"translate host name", "there is no host of that name"),
    (r"statement timeout|timed out|timeout", "it does not answer in time"),
    (r"read-only transaction", "it is a standby, which cannot be written to"),
    (r"database is locked", "another process keeps it locked"),
)


def parsed(url: str) -> URL:
    """The parts of a registry_url. Raises ConfigError, which never shows any of it."""
    try:
        found = make_url(url)
        return found.set(drivername=_DRIVERS.get(found.drivername, found.drivername))
    except (ArgumentError, ValueError):
        raise _no_url() from None


def sqlite_file(url: str) -> Path | None:
    """The file behind an SQLAlchemy URL; None if it is another database. Raises ConfigError."""
    where = parsed(url)
    is_file = where.get_backend_name() == SQLITE and where.database not in (None, ":memory:")
    return Path(str(where.database)) if is_file else None


def connect(url: str, *, patient: bool = False) -> Engine:
    """An engine on the database. Raises ConfigError when the URL cannot be used.

    `patient`: for reading the whole of it, as it is at one moment.
    """
    where = parsed(url)
    if where.drivername == _DRIVERS[SQLITE]:
        engine = create_engine(where, hide_parameters=True)
        event.listen(engine, "connect", _make_durable)
        event.listen(engine, "begin", _begin)
        return engine
    if where.drivername != _DRIVERS[POSTGRESQL]:
        raise _no_url()
    try:
        from parties.party.models import postgresql
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "psycopg":
            raise
        raise ConfigError(
            "registry_url: needs one more package: pip install 'privedge-parties[postgres]'"
        ) from None
    return postgresql.connect(where, patient=patient)


def erase_old_pages(engine: Engine) -> bool:
    """Leave no old page in SQLite's write-ahead log, where a replaced salt would stay for a while.

    Returns False if a reader or a writer is in the way. It waits for neither, because all writers
    would wait with it.
    """
    if engine.dialect.name != SQLITE:
        return True
    try:
        with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute("PRAGMA busy_timeout=0")
            try:
                busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    except (sqlite3.Error, DBAPIError):  # what was committed before stays so
        return False
    return not busy


def is_full(error: DBAPIError) -> bool:
    """Whether the database had no room, or no permission, for another byte."""
    name = getattr(error.orig, "sqlite_errorname", "")
    # A quota and a limit on file sizes end a write of SQLite as an I/O error.
    full = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE")
    state: Any = getattr(error.orig, "sqlstate", "")  # PostgreSQL's
    return name in full or state == "53100"


def is_lost(error: Exception) -> bool:
    """Whether PostgreSQL could not be asked, or not in time, or another process has kept SQLite's
    file locked for too long.
    """
    if isinstance(error, NoneFree):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorname", "").startswith("SQLITE_BUSY")
    away = isinstance(error, (OperationalError, InterfaceError)) or error.connection_invalidated
    return away and not is_full(error)


def reason(error: Exception) -> str:
    """Why a database could not be asked, in words of our own."""
    return _found(_LASTING + _PASSING, error) or "it cannot be reached"


def unusable(error: DBAPIError) -> ConfigError:
    """What to raise for a registry that cannot be opened; DatabaseAway if it may be back soon."""
    # Only the kind: the driver's own text may repeat the URL and its password.
    kind = type(error.orig).__name__
    if kind == "DatabaseError" and isinstance(error.orig, sqlite3.Error):
        return ConfigError(f"registry: its file is damaged; {PUT_BACK}")
    if is_full(error):
        return ConfigError("registry: cannot open it, the disk is full; free some space")
    if is_lost(error):
        kind_of_error = ConfigError if _found(_LASTING, error) else DatabaseAway
        return kind_of_error(f"registry: the database cannot be used: {reason(error)}")
    return ConfigError(f"registry: cannot open it ({kind})")


def _found(texts: tuple[tuple[str, str], ...], error: Exception) -> str:
    said = str(getattr(error, "orig", error))
    return next((text for sign, text in texts if re.search(sign, said)), "")


def _no_url() -> ConfigError:
    return ConfigError(
        "registry_url: not a database URL; needs postgresql://USER@HOST/DATABASE or sqlite:////PATH"
    )


def _make_durable(connection: Any, _record: object) -> None:
    # Python would begin transactions by itself, but not before a change of the schema.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    # A salt that is replaced or forgotten is overwritten, not only left out.
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    # A transaction that reads first would be refused its first write at once, whatever the timeout,
    # if another process has committed in between.
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
