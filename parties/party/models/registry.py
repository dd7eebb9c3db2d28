"""Which models this party holds, and in which state: the durable truth behind the share files.

Holds public facts (ids, names, manifests) and, as long as the share is kept, this party's salt of
each model, which the other party must not learn. A method that returns has committed: SQLite runs
with a write-ahead log and full synchronisation. A deleted model leaves a tombstone, because a
model id must never be used for two different uploads (docs/protocol.md#sessions).
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Index,
    LargeBinary,
    String,
    Text,
    create_engine,
    event,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from privedge.errors import AlreadyExists, ConfigError, LimitExceeded
from privedge.sharing.manifest import SALT_BYTES, ModelManifest, UploadHeader

# Raised when an older release could not read the tables any more, or would misread them.
SCHEMA_VERSION = 1
# The longest list an operator gets; keeps one answer within one gRPC message.
MAX_LISTED = 2000


class State(StrEnum):
    """Where a model is in its life."""

    UPLOADED = "uploaded"  # this party has its share
    PREPARED = "prepared"  # party 1 only: its manifest equals party 0's
    ACTIVE = "active"  # asked by every query of its cohort
    RETIRED = "retired"  # superseded by its owner's newer model; the share is gone
    DELETED = "deleted"  # a tombstone, never listed


_LIVE = (State.UPLOADED, State.PREPARED, State.ACTIVE)


class _Base(DeclarativeBase):
    pass


class Meta(_Base):
    """One row. A database without this table has version 1, which had none."""

    __tablename__ = "meta"
    schema_version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Model(_Base):
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
    # Empty once the share is gone.
    salt: Mapped[bytes] = mapped_column(LargeBinary(SALT_BYTES))
    # Seconds since 1970, UTC.
    created_at: Mapped[int] = mapped_column(BigInteger)

    @property
    def share_bytes(self) -> int:
        """Size of the share file this model has or had."""
        return ModelManifest.from_json(self.manifest_json).share_bytes


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


class Registry:
    """The table of models behind an SQLAlchemy URL. Safe to call from several threads."""

    def __init__(self, url: str) -> None:
        """Open, creating the tables if needed. Raises ConfigError when the URL cannot be used, or
        a newer release has written there.
        """
        self._engine = _open(url)
        self._sessions = sessionmaker(self._engine, expire_on_commit=False)
        # One writer at a time: a read followed by a write then never meets a busy SQLite file.
        self._writing = threading.Lock()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def add(self, header: UploadHeader) -> None:
        """Record an upload whose share file is on disk. Raises AlreadyExists for a used id."""
        manifest = header.manifest
        row = Model(
            model_id=manifest.model_id,
            cohort=manifest.cohort,
            owner=manifest.owner,
            state=State.UPLOADED,
            manifest_json=manifest.to_json(),
            manifest_digest=manifest.digest(),
            salt=header.salt,
            created_at=int(time.time()),
        )
        try:
            with self._write() as session:
                session.add(row)
        except IntegrityError:
            raise AlreadyExists(f"model {manifest.model_id}: this id was used before") from None

    def get(self, model_id: str) -> Model | None:
        """The row of an id, tombstones included."""
        with self._sessions() as session:
            return session.get(Model, model_id)

    def active(self, cohort: str) -> Sequence[Model]:
        """The active models of a cohort, ordered by owner: the order of the answer vector."""
        wanted = select(Model).where(Model.cohort == cohort, Model.state == State.ACTIVE)
        with self._sessions() as session:
            rows = session.scalars(wanted).all()
        # In Python, because databases order text by different rules and both parties must agree.
        return sorted(rows, key=lambda row: row.owner)

    def listed(self, *, owner: str | None, cohort: str | None) -> Sequence[Model]:
        """At most MAX_LISTED models, newest first; None means any owner or cohort."""
        wanted = select(Model).where(Model.state != State.DELETED)
        if owner is not None:
            wanted = wanted.where(Model.owner == owner)
        if cohort is not None:
            wanted = wanted.where(Model.cohort == cohort)
        newest = wanted.order_by(Model.created_at.desc(), Model.model_id).limit(MAX_LISTED)
        with self._sessions() as session:
            return session.scalars(newest).all()

    def knows(self, cohort: str) -> bool:
        """Whether this party ever had a model of the cohort, deleted ones included."""
        with self._sessions() as session:
            any_of_it = select(Model.model_id).where(Model.cohort == cohort).limit(1)
            return session.scalar(any_of_it) is not None

    def live(self, cohort: str) -> dict[str, Model]:
        """By id, all models of a cohort whose share this party keeps."""
        wanted = select(Model).where(Model.cohort == cohort, Model.state.in_(_LIVE))
        with self._sessions() as session:
            return {row.model_id: row for row in session.scalars(wanted)}

    def live_ids(self) -> set[str]:
        """Ids whose share file must exist."""
        with self._sessions() as session:
            return set(session.scalars(select(Model.model_id).where(Model.state.in_(_LIVE))))

    def count_live(self, owner: str) -> int:
        """How many shares an owner has at this party."""
        wanted = select(func.count()).where(Model.owner == owner, Model.state.in_(_LIVE))
        with self._sessions() as session:
            return session.scalar(wanted) or 0

    def prepare(self, model_id: str) -> None:
        """Mark an uploaded model as agreed upon; other states stay as they are."""
        with self._write() as session:
            row = session.get_one(Model, model_id)
            if row.state == State.UPLOADED:
                row.state = State.PREPARED

    def activate(self, model_id: str) -> list[str]:
        """Make a model its owner's active one in its cohort; returns the ids it retires."""
        with self._write() as session:
            chosen = session.get_one(Model, model_id)
            active = select(Model).where(
                Model.cohort == chosen.cohort,
                Model.owner == chosen.owner,
                Model.state == State.ACTIVE,
                Model.model_id != model_id,
            )
            retired = session.scalars(active).all()
            _retire(session, retired)
            chosen.state = State.ACTIVE
            return [row.model_id for row in retired]

    def follow(self, cohort: str, model_ids: set[str]) -> list[str]:
        """Make exactly these models active in the cohort; returns the ids it retires.

        A prepared model outside the set goes back to uploaded: its activation did not happen.
        """
        undecided = (State.PREPARED, State.ACTIVE)
        with self._write() as session:
            held = session.scalars(select(Model).where(Model.cohort == cohort)).all()
            dropped = [row for row in held if row.model_id not in model_ids]
            retired = [row for row in dropped if row.state == State.ACTIVE]
            for row in dropped:
                if row.state in undecided:
                    row.state = State.UPLOADED
            _retire(session, retired)
            for row in held:
                if row.model_id in model_ids:
                    row.state = State.ACTIVE
            return [row.model_id for row in retired]

    def delete(self, model_id: str) -> None:
        """Leave only a tombstone."""
        with self._write() as session:
            row = session.get_one(Model, model_id)
            row.state, row.salt = State.DELETED, b""

    @contextmanager
    def _write(self) -> Iterator[Session]:
        try:
            with self._writing, self._sessions.begin() as session:
                yield session
        except OperationalError as error:
            if getattr(error.orig, "sqlite_errorname", "") == "SQLITE_FULL":
                raise LimitExceeded("registry: the disk is full") from None
            raise


def _retire(session: Session, rows: Sequence[Model]) -> None:
    for row in rows:
        row.state, row.salt = State.RETIRED, b""
    # Before the new one becomes active: the unique index holds after every statement.
    session.flush()


def _open(url: str) -> Engine:
    try:
        # Errors of the database repeat what was written, salts included, unless told not to.
        engine = create_engine(make_url(url), hide_parameters=True)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _make_durable)
        with engine.begin() as connection:
            _bring_up_to_date(connection)
    except ArgumentError:
        raise ConfigError("registry_url: not a database URL; see SQLAlchemy's URL format") from None
    except ModuleNotFoundError as error:
        raise ConfigError(f"registry_url: install the database driver {error.name}") from None
    except DBAPIError as error:
        # Only the kind: the driver's own text may repeat the URL and its password.
        raise ConfigError(f"registry: cannot open it ({type(error.orig).__name__})") from None
    return engine


def _bring_up_to_date(connection: Connection) -> None:
    """Create what is missing. Raises ConfigError before any change if the version is not ours."""
    known, version = inspect(connection).has_table(Meta.__tablename__), None
    if known:
        version = connection.scalar(select(func.max(Meta.schema_version)))
        if version is not None and version != SCHEMA_VERSION:
            raise ConfigError(
                f"registry: has schema version {version}, this release reads {SCHEMA_VERSION}; "
                "start the release that wrote it, or restore its backup"
            )
    _Base.metadata.create_all(connection)
    if version is None:
        connection.execute(insert(Meta).values(schema_version=SCHEMA_VERSION))


def _make_durable(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()
