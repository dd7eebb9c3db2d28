"""That one process, and no other, changes a database.

SQLite: a lock on a file beside the database's, which ends with the process. PostgreSQL: an advisory
lock of a session. That session is also the only one that writes. So who loses the lock cannot write
any more, in the middle of a transaction either, and there are never two writers.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from parties.party.models.database import POSTGRESQL, WRITES, is_lost, reason
from privedge.errors import ConfigError, Unreachable

log = logging.getLogger(__name__)

# The same in every release. PostgreSQL keeps the locks of its databases apart.
LOCK = int.from_bytes(b"privedge")
_LOOK_S = 1.0
# A database that has not answered for so long is treated as one that is away.
_LATE_S = 2.5

_TAKE = text("SELECT pg_try_advisory_lock(:lock)")
_HOLDER = text(
    "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE objsubid = 1 "
    "AND locktype = 'advisory' AND ((classid::bigint << 32) | objid::bigint) = :lock "
    "AND datname = current_database()"
)


class Owner(Protocol):
    """The right to change a database, until `close`. Safe to use from several threads."""

    def fault(self) -> str:
        """Why nothing can be changed now; empty if it can. Does not wait."""

    def writing(self) -> AbstractContextManager[Connection]:
        """The connection to write on, for one thread at a time. Raises Unreachable if the database
        is away, and also for a change that may or may not have been committed.
        """

    def watch(self, wrong: Callable[[Connection], str], regained: Callable[[], None]) -> None:
        """From now on take the right again when it is lost, unless `wrong` names something about
        the database that is there then. `regained` is called each time, in another thread.
        """

    def close(self) -> None:
        """Give the right up."""


def own(engine: Engine, file: Path | None) -> Owner:
    """Become the one process that changes this database; `file` is SQLite's. Raises ConfigError if
    another process is, and DBAPIError.
    """
    return SessionOwner(engine) if engine.dialect.name == POSTGRESQL else FileOwner(engine, file)


class FileOwner:
    """Of an SQLite file. It cannot be lost, but `keys rotate` may write beside it."""

    def __init__(self, engine: Engine, file: Path | None) -> None:
        self._engine = engine
        self._lock = None
        if file is not None:
            # Beside it: SQLite's own locks are gone once any other handle of the file is closed.
            self._lock = _locked(file.with_name(f"{file.name}.lock"))

    def fault(self) -> str:
        """See Owner."""
        return ""

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """See Owner."""
        try:
            with self._engine.connect().execution_options(**{WRITES: True}) as connection:
                yield connection
        except SQLAlchemyError as error:
            if not is_lost(error):
                raise
            raise unreachable(reason(error)) from None

    def watch(self, wrong: Callable[[Connection], str], regained: Callable[[], None]) -> None:
        """See Owner."""

    def close(self) -> None:
        """See Owner."""
        if self._lock is not None:
            os.close(self._lock)


class SessionOwner:
    """Of a PostgreSQL database. A thread looks after its session."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._using = threading.Lock()
        self._wrong: Callable[[Connection], str] = lambda connection: ""
        self._regained: Callable[[], None] = lambda: None
        self._fault = ""
        self._asked_at: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="database", daemon=True)
        self._session: Connection | None = self._taken()

    def fault(self) -> str:
        """See Owner."""
        asked_at = self._asked_at
        late = asked_at is not None and time.monotonic() - asked_at > _LATE_S
        return self._fault or ("it does not answer" if late else "")

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """See Owner."""
        if fault := self.fault():  # or it would wait for the session behind others
            raise unreachable(fault)
        with self._using:
            if self._session is None:
                raise unreachable(self._fault)
            try:
                yield self._session
            except SQLAlchemyError as error:
                if not is_lost(error):
                    raise
                self._lose(error)
                raise unreachable(self._fault) from None

    def watch(self, wrong: Callable[[Connection], str], regained: Callable[[], None]) -> None:
        """See Owner."""
        self._wrong, self._regained = wrong, regained
        self._thread.start()

    def close(self) -> None:
        """See Owner."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._using:
            self._drop()

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_S):
            with self._using:
                again = self._session is None and self._retaken()
                if not again and self._session is not None:
                    self._ask(self._session)
            if again:
                try:
                    self._regained()
                except Exception as error:  # gone once more, or a disk's: the thread must go on
                    log.error("registry: not everything is in step: %s", type(error).__name__)

    def _ask(self, session: Connection) -> None:
        self._asked_at = time.monotonic()
        try:
            with session.begin():
                session.execute(text("SELECT 1"))
        except SQLAlchemyError as error:
            self._lose(error)
        finally:
            self._asked_at = None

    def _lose(self, error: SQLAlchemyError) -> None:
        self._drop()
        self._say(reason(error))

    def _say(self, fault: str) -> None:
        if fault != self._fault:
            self._fault = fault
            log.error(
                "registry: the database is away: %s; nothing is uploaded, activated or deleted "
                "until it is back, and queries go on",
                fault,
            )

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(SQLAlchemyError):
                session.close()

    def _retaken(self) -> bool:
        try:
            self._session = self._taken()
        except ConfigError as error:
            self._say(str(error).removeprefix("registry: "))
        except SQLAlchemyError as error:
            self._say(reason(error))
        if self._session is None:
            return False
        self._fault = ""
        log.info("registry: the database is back")
        return True

    def _taken(self) -> Connection:
        """A session of its own, which holds the lock. Raises ConfigError, SQLAlchemyError."""
        session = self._engine.connect()
        try:
            session.detach()  # or closing it would keep it, with its lock, in the pool
            with session.begin():
                if not session.scalar(_TAKE, {"lock": LOCK}):
                    raise ConfigError(f"registry: {_held(session)}")
                if wrong := self._wrong(session):
                    raise ConfigError(wrong)
        except BaseException:
            with suppress(SQLAlchemyError):
                session.close()
            raise
        return session


def _held(session: Connection) -> str:
    holder = session.scalar(_HOLDER, {"lock": LOCK})
    if holder == session.scalar(text("SELECT current_setting('application_name')")):
        return "the last session of this process has not ended yet"
    return f"another process ({holder or 'of another user'}) uses this database; stop it first"


def unreachable(fault: str) -> Unreachable:
    """What to raise while a database is away."""
    return Unreachable(f"registry: the database is away: {fault}")


def _locked(path: Path) -> int:
    """A descriptor that holds the lock on a file until it is closed. Raises ConfigError."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"registry: cannot open {path}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ConfigError(
            f"registry: another process uses this database ({path}); stop it first"
        ) from None
    return descriptor
