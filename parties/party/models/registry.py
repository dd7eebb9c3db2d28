"""Which models this party holds, and in which state: the durable truth behind the share files.

Holds public facts (ids, names, manifests) and, as long as the share is kept, this party's salt of
each model, which the other party must not learn. A method that returns has committed: SQLite runs
with a write-ahead log and full synchronisation. A deleted model leaves a tombstone, because a
model id must never be used for two different uploads (docs/protocol.md#sessions).

Every change of a model raises the registry's epoch by one, in the same transaction
(docs/adr/0012-state-folder.md).
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from sqlalchemy import func, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session, make_transient, sessionmaker

from parties.party.models.tables import LIVE, FolderRow, Model, State, is_full, open_engine
from privedge.errors import AlreadyExists, DiskFull
from privedge.sharing.manifest import UploadHeader

# The longest list an operator gets; keeps one answer within one gRPC message.
MAX_LISTED = 2000

_HAS_SALT = func.length(Model.salt) > 0

T = TypeVar("T")


@dataclass(frozen=True)
class Epochs:
    """What a registry knows of the two parties' state.

    deployment: drawn once for both parties; empty until they have met.
    own: rises with every change of the models here.
    peer: the highest that the other party has said.
    """

    deployment: str = ""
    own: int = 0
    peer: int = 0


class Registry:
    """The table of models behind an SQLAlchemy URL. Safe to call from several threads."""

    def __init__(
        self,
        url: str,
        *,
        make_room: Callable[[], bool] = lambda: False,
        committed: Callable[[Epochs], None] = lambda _: None,
    ) -> None:
        """Open, creating the tables if needed. Raises ConfigError when the URL cannot be used, or
        a newer release has written there.

        make_room: called when the disk is full, and says whether to try again. Never for uploads.
        committed: called after every commit, in order, as soon as the registry has a folder.
        """
        self._engine = open_engine(url)
        self._sessions = sessionmaker(self._engine, expire_on_commit=False)
        # One writer at a time: a read followed by a write then never meets a busy SQLite file.
        self._writing = threading.Lock()
        self._make_room = make_room
        self._committed = committed
        with self._sessions() as session:
            self._epochs = _epochs(session)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    # --- The folder and the epochs ----------------------------------------------------------------

    @property
    def epochs(self) -> Epochs:
        """As of the last commit, and what was heard since."""
        return self._epochs

    def belong(self, folder: str, party: int, epochs: Epochs) -> None:
        """Make this the registry of a state folder, with these epochs, whatever it was before."""

        def change(session: Session) -> None:
            for row in session.scalars(select(FolderRow)):
                session.delete(row)
            session.flush()
            own, peer = epochs.own, epochs.peer
            session.add(FolderRow(folder=folder, party=party, deployment=epochs.deployment,
                                  epoch=own, peer_epoch=peer))  # fmt: skip

        self._write(change, counts=False)

    def hear(self, *, deployment: str, peer: int) -> None:
        """Remember what the other party has said, in memory; the next change records it."""
        with self._writing:
            self._epochs = replace(self._epochs, deployment=deployment, peer=peer)

    def note(self, *, deployment: str, peer: int) -> None:
        """Record it now. Raises DiskFull."""
        said = update(FolderRow).values(deployment=deployment, peer_epoch=peer)
        self._write(lambda session: session.execute(said), counts=False)

    # --- Reading ----------------------------------------------------------------------------------

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

    def quarantined(self, cohort: str | None = None) -> Sequence[Model]:
        """The quarantined models of one cohort, or of all."""
        wanted = select(Model).where(Model.state == State.QUARANTINED).order_by(Model.model_id)
        if cohort is not None:
            wanted = wanted.where(Model.cohort == cohort)
        with self._sessions() as session:
            return session.scalars(wanted).all()

    def counts(self) -> dict[tuple[str, str], int]:
        """By cohort and state, how many models there are, tombstones included."""
        wanted = select(Model.cohort, Model.state, func.count()).group_by(Model.cohort, Model.state)
        with self._sessions() as session:
            return {(cohort, state): count for cohort, state, count in session.execute(wanted)}

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

    def kept(self, cohort: str) -> dict[str, Model]:
        """By id, all models of a cohort whose share this party has, or may have in its trash."""
        wanted = select(Model).where(
            Model.cohort == cohort, Model.state != State.DELETED, _HAS_SALT
        )
        with self._sessions() as session:
            return {row.model_id: row for row in session.scalars(wanted)}

    def live(self) -> dict[str, Model]:
        """By id, the models whose share file must exist."""
        with self._sessions() as session:
            wanted = select(Model).where(Model.state.in_(LIVE))
            return {row.model_id: row for row in session.scalars(wanted)}

    def count_live(self, owner: str) -> int:
        """How many shares an owner has at this party."""
        wanted = select(func.count()).where(Model.owner == owner, Model.state.in_(LIVE))
        with self._sessions() as session:
            return session.scalar(wanted) or 0

    def retired(self, owner: str | None = None) -> set[str]:
        """Ids of retired models, of one owner or all, whose share may be in the trash."""
        wanted = select(Model.model_id).where(Model.state == State.RETIRED, _HAS_SALT)
        if owner is not None:
            wanted = wanted.where(Model.owner == owner)
        with self._sessions() as session:
            return set(session.scalars(wanted))

    def deleted(self, model_ids: Collection[str]) -> set[str]:
        """Those of these ids that are tombstones."""
        with self._sessions() as session:
            wanted = select(Model.model_id).where(Model.state == State.DELETED)
            return set(session.scalars(wanted)) & set(model_ids) if model_ids else set()

    # --- Changing ---------------------------------------------------------------------------------

    def add(self, header: UploadHeader) -> None:
        """Record an upload whose share is on disk. Raises AlreadyExists for a used id, DiskFull."""
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
            self._write(lambda session: session.add(row), spends_reserve=False)
        except IntegrityError:
            raise AlreadyExists(f"model {manifest.model_id}: this id was used before") from None

    def take(self, row: Model) -> None:
        """Record a model as another registry has it. It stays active only if its owner has no
        active model here, and is uploaded otherwise.
        """
        make_transient(row)

        def change(session: Session) -> None:
            same = select(Model.model_id).where(
                Model.cohort == row.cohort, Model.owner == row.owner, Model.state == State.ACTIVE
            )
            if row.state != State.ACTIVE or session.scalar(same) is not None:
                row.state = State.UPLOADED
            session.add(row)

        self._write(change)

    def forget(self, model_id: str) -> None:
        """Take back `add`, for an upload that was never acknowledged."""
        if self.get(model_id) is not None:
            self._write(lambda session: session.delete(session.get_one(Model, model_id)))

    def prepare(self, model_id: str) -> None:
        """Mark an uploaded model as agreed upon; other states stay as they are."""

        def change(session: Session) -> None:
            row = session.get_one(Model, model_id)
            if row.state == State.UPLOADED:
                row.state = State.PREPARED

        self._write(change)

    def activate(self, model_id: str) -> list[str]:
        """Make a model its owner's active one in its cohort; returns the ids it retires."""

        def change(session: Session) -> list[str]:
            chosen = session.get_one(Model, model_id)
            active = select(Model).where(
                Model.cohort == chosen.cohort,
                Model.owner == chosen.owner,
                Model.state.in_((State.ACTIVE, State.QUARANTINED)),
                Model.model_id != model_id,
            )
            retired = session.scalars(active).all()
            _retire(session, retired)
            chosen.state = State.ACTIVE
            return [row.model_id for row in retired]

        return self._write(change)

    def follow(self, cohort: str, wanted: Mapping[str, State]) -> list[str]:
        """Make exactly these models of the cohort active, or quarantined; returns the ids that it
        retires. `wanted`: by id, one of these two states.

        A prepared model outside the list goes back to uploaded: its activation did not happen.
        """

        def change(session: Session) -> list[str]:
            held = session.scalars(select(Model).where(Model.cohort == cohort)).all()
            dropped = [row for row in held if row.model_id not in wanted]
            retired = [row for row in dropped if row.state in (State.ACTIVE, State.QUARANTINED)]
            for row in dropped:
                if row.state == State.PREPARED:
                    row.state = State.UPLOADED
            _retire(session, retired)
            _set(session, {row: wanted[row.model_id] for row in held if row.model_id in wanted})
            return [row.model_id for row in retired]

        # Party 0 repeats its list at every start; that changes nothing, and no epoch.
        return self._write(change) if self._would_change(cohort, wanted) else []

    def _would_change(self, cohort: str, wanted: Mapping[str, State]) -> bool:
        asked = select(Model.model_id, Model.state).where(
            Model.cohort == cohort,
            Model.state.in_((State.PREPARED, State.ACTIVE, State.QUARANTINED)),
        )
        with self._sessions() as session:
            now = {model_id: state for model_id, state in session.execute(asked)}
        return now != wanted

    def quarantine(self, cohort: str, damaged: Collection[str], *, release: bool) -> dict[str, str]:
        """Quarantine these of the active models, and if `release`, make active again what is no
        longer damaged. Returns the new state of each model that has changed, by id.
        """
        changes = {row.model_id: State.QUARANTINED for row in self.active(cohort)
                   if row.model_id in damaged}  # fmt: skip
        if release:
            changes |= {row.model_id: State.ACTIVE for row in self.quarantined(cohort)
                        if row.model_id not in damaged}  # fmt: skip

        def change(session: Session) -> None:
            _set(session, {session.get_one(Model, each): state for each, state in changes.items()})

        if changes:
            self._write(change)
        return {model_id: str(state) for model_id, state in changes.items()}

    def retire(self, model_id: str) -> None:
        """Set a model aside; its share goes to the trash."""
        self._write(lambda session: _retire(session, [session.get_one(Model, model_id)]))

    def delete(self, model_id: str) -> None:
        """Leave only a tombstone."""

        def change(session: Session) -> None:
            row = session.get_one(Model, model_id)
            row.state, row.salt = State.DELETED, b""

        self._write(change)

    def forget_salts(self, model_ids: Collection[str]) -> None:
        """The shares of these retired models are gone, so their salts go too."""

        def change(session: Session) -> None:
            for model_id in model_ids:
                session.get_one(Model, model_id).salt = b""

        if model_ids:
            self._write(change)

    def _write(
        self,
        change: Callable[[Session], T],
        *,
        counts: bool = True,
        spends_reserve: bool = True,
    ) -> T:
        """Commit a change. Raises DiskFull, and then nothing has changed."""
        with self._writing:
            try:
                return self._commit(change, counts)
            except DBAPIError as error:
                if not is_full(error):
                    raise
            if spends_reserve and self._make_room():
                try:
                    return self._commit(change, counts)
                except DBAPIError as error:
                    if not is_full(error):
                        raise
            raise DiskFull("registry: the disk is full; free some space")

    def _commit(self, change: Callable[[Session], T], counts: bool) -> T:
        with self._sessions.begin() as session:
            result = change(session)
            if counts:
                heard = {"deployment": self._epochs.deployment, "peer_epoch": self._epochs.peer}
                session.execute(update(FolderRow).values(epoch=FolderRow.epoch + 1, **heard))
            session.flush()
            epochs = _epochs(session)
        self._epochs = epochs
        if epochs.own:
            self._committed(epochs)
        return result


def _epochs(session: Session) -> Epochs:
    wanted = select(FolderRow.deployment, FolderRow.epoch, FolderRow.peer_epoch)
    row = session.execute(wanted).first()
    return Epochs() if row is None else Epochs(*row)


def _retire(session: Session, rows: Sequence[Model]) -> None:
    _set(session, dict.fromkeys(rows, State.RETIRED))


def _set(session: Session, states: Mapping[Model, State]) -> None:
    """Active ones last: the unique index holds after every statement."""
    for row, state in states.items():
        if state != State.ACTIVE:
            row.state = state
    session.flush()
    for row, state in states.items():
        row.state = state
