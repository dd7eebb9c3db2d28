"""The database of a registry: how it is opened, and what its errors mean.

Sees everything in it, and the database's password; neither may be in an error.
"""

from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from privedge.errors import ConfigError

# What a damaged registry asks for. There is no mending it in place.
PUT_BACK = "put the newest backup of it back (`python -m parties restore`)"


def sqlite_file(url: str) -> Path | None:
    """The file behind an SQLAlchemy URL; None if it is another database. Raises ConfigError."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _no_url() from None
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, ":memory:")
    return Path(str(parsed.database)) if is_file else None


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


def is_full(error: DBAPIError) -> bool:
    """Whether the database had no room, or no permission, for another byte."""
    name = getattr(error.orig, "sqlite_errorname", "")
    # A quota and a limit on file sizes end a write of SQLite as an I/O error.
    full = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE")
    state: Any = getattr(error.orig, "sqlstate", "")  # PostgreSQL's
    return name in full or state == "53100"


def _no_url() -> ConfigError:
    return ConfigError("registry_url: not a database URL; see SQLAlchemy's URL format")


def unusable(error: DBAPIError) -> ConfigError:
    # Only the kind: the driver's own text may repeat the URL and its password.
    kind = type(error.orig).__name__
    if kind == "DatabaseError" and hasattr(error.orig, "sqlite_errorname"):
        return ConfigError(f"registry: its file is damaged; {PUT_BACK}")
    if is_full(error):
        return ConfigError("registry: cannot open it, the disk is full; free some space")
    return ConfigError(f"registry: cannot open it ({kind})")


def _make_durable(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()
