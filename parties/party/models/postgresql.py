"""A session of PostgreSQL that never waits for ever, and which addresses of a database are safe.

Imports psycopg, so only database.py imports this module, and only for such a database.
"""

import os
import socket
from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL

from privedge.errors import ConfigError
from privedge.rpc import loopback

# What may follow the ? of a registry_url. A password is none of it, because only the one before the
# @ is hidden wherever a URL is shown.
_PARAMETERS = frozenset(
    ("host", "port", "passfile", "sslmode", "sslrootcert", "sslcert", "sslkey", "channel_binding")
)
_CHECKED = ("verify-ca", "verify-full")
_CONNECT_S = 3
# A party's statements take milliseconds. The second limit is for a server that says nothing.
_STATEMENT_S, _SILENT_S = 5, 8
# Readers at once. A further one waits for so long, and is refused then.
_POOL, _OVERFLOW, _POOL_WAIT_S = 5, 10, 5


def connect(url: URL, *, patient: bool = False) -> Engine:
    """An engine on the database; nothing is sent yet. Raises ConfigError for an unsafe address.

    `patient` is for commands that read a whole registry: statements may take minutes.
    """
    _require_safe(url)
    limits = (600, 660) if patient else (_STATEMENT_S, _SILENT_S)
    engine = create_engine(
        url,
        # Errors of the database repeat what was written, salts included, unless told not to.
        hide_parameters=True,
        isolation_level="REPEATABLE READ" if patient else "READ COMMITTED",
        pool_pre_ping=True,
        pool_size=_POOL,
        max_overflow=_OVERFLOW,
        pool_timeout=_POOL_WAIT_S,
        connect_args=_session(limits[0]),
    )

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: object, _record: object, _args: object, parameters: Any) -> Any:
        session = _Session.connect(**parameters)
        session.silent_s = limits[1]
        _require_utf8(session)
        return session

    return engine


class _Session(psycopg.Connection[Any]):
    """A connection that is closed if the server says nothing for too long."""

    silent_s: float = _SILENT_S

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        """Every exchange with the server passes here."""
        options.setdefault("timeout", self.silent_s)
        try:
            return super().wait(gen, *args, **options)
        except psycopg.OperationalError:
            # After a timeout nobody knows what the server will say next.
            if self.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


def _require_utf8(session: _Session) -> None:
    # In SQL_ASCII the server checks nothing, and the driver returns text as bytes.
    encoding = session.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        session.close()
        raise ConfigError(
            f"registry: its database is in {encoding}; create it with ENCODING 'UTF8' "
            "TEMPLATE template0"
        )


def _session(statement_s: int) -> dict[str, Any]:
    """How every session begins."""
    settings = {
        "statement_timeout": f"{statement_s}s",
        "idle_in_transaction_session_timeout": f"{statement_s + 60}s",
        # So that the session of a machine that went away, and its lock, end within half a minute.
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "25s",
    }
    return {
        "connect_timeout": _CONNECT_S,
        "client_encoding": "utf8",
        "application_name": f"privedge {socket.gethostname()[:32]} {os.getpid()}",
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 1000 * _SILENT_S,
    }


def _require_safe(url: URL) -> None:
    unknown = sorted(set(url.query) - _PARAMETERS)
    if unknown:
        raise ConfigError(
            f"registry_url: {unknown[0][:32]!a} cannot be given there; after ? are allowed "
            f"{', '.join(sorted(_PARAMETERS))}"
        )
    checked = url.query.get("sslmode") in _CHECKED
    hosts = [url.host, *_all(url, "host")]
    if not checked and not all(_stays_here(host) for host in hosts if host):
        raise ConfigError(
            "registry_url: the database is on another machine; add sslmode=verify-full and "
            "sslrootcert=FILE after ?, or use 127.0.0.1 or the folder of a socket"
        )


def _all(url: URL, name: str) -> list[str]:
    given = url.query.get(name, ())
    return [given] if isinstance(given, str) else list(given)


def _stays_here(host: str) -> bool:
    if host.startswith("/"):
        return True
    try:
        loopback.require(f"[{host}]:1" if ":" in host else f"{host}:1")
    except ConfigError:
        return False
    return True
