"""Which models this party holds, and in which state: the durable truth behind the share files.

Holds public facts (ids, names, manifests) and, as long as the share is kept, this party's salt of
each model, which the other party must not learn. A method that returns has committed: SQLite runs
with a write-ahead log and full synchronisation. A deleted model leaves a tombstone, because a
model id must never be used for two different uploads (docs/protocol.md#sessions).

Every method raises Unreachable while PostgreSQL is away, or another process keeps SQLite's file
locked. One that changes something may with PostgreSQL have been committed all the same; `watch`
says when to look at everything again.

Every change of a model raises the registry's epoch by one, in the same transaction
(docs/adr/0012-state-folder.md).
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import TypeVar

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session, make_transient, sessionmaker

from parties.party.models.database import (
    connect,
    erase_old_pages,
    is_full,
    sqlite_file,
    unusable,
)
from parties.party.models.folder_identity import FolderIdentity
from parties.party.models.look import holder
from parties.party.models.migrations import bring_up_to_date
from parties.party.models.model_checks import Seen
from parties.party.models.ownership import Owner, own
from parties.party.models.reading import Reading
from parties.party.models.rows import activate, note_seen, set_states, uploaded
from parties.party.models.salts import replace as replace_salts
from parties.party.models.start import Found, refusal
from parties.party.models.tables import (
    IN_USE,
    CheckSeen,
    Enrolment,
    FolderRow,
    Model,
    RefreshedShare,
    Released,
    State,
    Unwanted,
)
from privedge.errors import AlreadyExists, DatabaseAway, DiskFull, Unreachable
from privedge.sharing.manifest import UploadHeader

_REFRESHED_COLUMNS = tuple(RefreshedShare.__table__.columns.keys())

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


class Registry(Reading):
    """The table of models behind an SQLAlchemy URL. Safe to call from several threads."""

    def __init__(
        self,
        url: str,
        *,
        make_room: Callable[[], bool] = lambda: False,
        committed: Callable[[Epochs], None] = lambda _: None,
    ) -> None:
        """Open, creating the tables if needed. Raises ConfigError when the URL cannot be used,
        another process uses the database, or a newer release has written there.

        make_room: called when the disk is full, and says whether to try again. Never for uploads.
        committed: called after every commit, in order, as soon as the registry has a folder.
        """
        self._engine, self._owner = _opened(url)
        super().__init__(sessionmaker(self._engine, expire_on_commit=False), self._owner)
        # One writer at a time: a read followed by a write then never meets a busy SQLite file.
        self._writing = threading.Lock()
        self._make_room = make_room
        self._committed = committed
        self._watchers: list[Callable[[], None]] = []
        # Old salts may still lie in SQLite's log, also from before a process that died.
        self._old_pages = True
        with self._reading() as session:
            self._folder, self._epochs = _said(session)
        self._owner.watch(self._wrong, self._regained)

    def close(self) -> None:
        """Close all connections, and let another process use the database."""
        self._owner.close()
        self._engine.dispose()

    def fault(self) -> str:
        """Why nothing can be changed now; empty if it can. Does not wait."""
        return self._owner.fault()

    def watch(self, regained: Callable[[], None]) -> None:
        """Call `regained` whenever the database is back after it was away."""
        self._watchers.append(regained)

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

    # --- Changing ---------------------------------------------------------------------------------

    def add(self, header: UploadHeader, salt: bytes | None = None) -> None:
        """Record an upload whose share is on disk. `salt`: the header's, as it is to be kept.

        Raises AlreadyExists for a used id, DiskFull.
        """
        self.add_all([(header, header.salt if salt is None else salt)])

    def add_all(self, uploads: Sequence[tuple[UploadHeader, bytes]]) -> None:
        """The same for several, in one commit: each with its salt as it is to be kept."""
        rows = [uploaded(header, salt, int(time.time())) for header, salt in uploads]
        try:
            self._write(lambda session: session.execute(insert(Model), rows), spends_reserve=False)
        except IntegrityError:
            first, more = uploads[0][0].manifest.model_id, len(uploads) - 1
            others = f", or one of {more} others" * bool(more)
            raise AlreadyExists(f"model {first}{others}: this id was used before") from None

    def take(self, row: Model) -> None:
        """Record a model as another registry has it. It stays active only if its owner has no
        active model here, and is uploaded otherwise.
        """
        refreshed = row.refreshed
        make_transient(row)

        def change(session: Session) -> None:
            same = select(Model.model_id).where(
                Model.cohort == row.cohort, Model.owner == row.owner, Model.state == State.ACTIVE
            )
            if row.state != State.ACTIVE or session.scalar(same) is not None:
                row.state = State.UPLOADED
            else:  # so it was active here, with whatever check there was
                session.merge(CheckSeen(model_id=row.model_id, seen=Seen.BEFORE))
            session.add(row)
            if refreshed is not None:
                session.merge(refreshed)

        self._write(change)

    def forget(self, model_id: str) -> None:
        """Take back `add`, for an upload that was never acknowledged."""
        if self.get(model_id) is not None:
            self._write(lambda session: session.delete(session.get_one(Model, model_id)))

    def prepare(self, model_id: str, seen: str = "") -> None:
        """Mark an uploaded or released model as agreed upon; other states stay as they are.
        `seen`: what this party saw of its check.
        """
        self.prepare_all([model_id], seen)

    def prepare_all(self, model_ids: Collection[str], seen: str = "") -> None:
        """The same for several, in one commit."""

        def change(session: Session) -> None:
            before = (State.UPLOADED, State.REFUSED)
            set_states(session, dict.fromkeys(model_ids, State.PREPARED), only=before)
            if seen:
                note_seen(session, model_ids, seen)

        self._write(change)

    def activate(self, model_id: str) -> list[str]:
        """Make a model its owner's active one in its cohort; returns the ids it retires."""
        return list(self.activate_all([model_id]))

    def activate_all(self, model_ids: Collection[str]) -> dict[str, str]:
        """Make these models of one cohort, of as many owners, their owners' active ones; returns
        the owners of the models that they retire, by id.
        """
        return self._write(lambda session: activate(session, model_ids))

    def follow(self, cohort: str, wanted: Mapping[str, State]) -> list[str]:
        """Make exactly these models of the cohort active, or quarantined; returns the ids that it
        retires. `wanted`: by id, one of these two states.

        A prepared model outside the list goes back to uploaded: its activation did not happen.
        """

        def change(session: Session) -> list[str]:
            columns = select(Model.model_id, Model.state).where(Model.cohort == cohort)
            held = {model_id: state for model_id, state in session.execute(columns)}
            after = {State.PREPARED: State.UPLOADED, **dict.fromkeys(IN_USE, State.RETIRED)}
            changes = {
                model_id: wanted.get(model_id) or after[State(state)]
                for model_id, state in held.items()
                if model_id in wanted or state in after
            }
            set_states(session, {each: to for each, to in changes.items() if held[each] != to})
            return [each for each, to in changes.items() if to == State.RETIRED]

        # Party 0 repeats its list at every start; that changes nothing, and no epoch.
        return self._write(change) if self.would_change(cohort, wanted) else []

    def quarantine(self, cohort: str, damaged: Collection[str], *, release: bool) -> dict[str, str]:
        """Quarantine these of the active models, and if `release`, make active again what is no
        longer damaged. Returns the new state of each model that has changed, by id.
        """
        changes = {each: State.QUARANTINED for each in self.ids(cohort, State.ACTIVE)
                   if each in damaged}  # fmt: skip
        if release:
            changes |= {each: State.ACTIVE for each in self.ids(cohort, State.QUARANTINED)
                        if each not in damaged}  # fmt: skip

        def change(session: Session) -> None:
            set_states(session, changes)

        if changes:
            self._write(change)
        return {model_id: str(state) for model_id, state in changes.items()}

    def prepare_refresh(self, share: RefreshedShare) -> None:
        """Record a refreshed share that is on disk and not in use yet. Again is fine."""
        self._write(lambda session: session.merge(share), counts=False)

    def use_refreshed(self, shares: Collection[RefreshedShare]) -> None:
        """From now on these are the shares of their models; nothing is left of earlier ones, and
        of others that were prepared.
        """

        def change(session: Session) -> None:
            self._old_pages = True
            for share in shares:
                of_model = RefreshedShare.model_id == share.model_id
                session.execute(delete(RefreshedShare).where(of_model))
                row = {name: getattr(share, name) for name in _REFRESHED_COLUMNS}
                session.execute(insert(RefreshedShare).values(row | {"in_use": True, "salt": b""}))
                here = Model.model_id == share.model_id
                session.execute(update(Model).where(here).values(salt=share.salt))

        self._write(change)

    def forget_refreshes(self, shares: Collection[RefreshedShare]) -> None:
        """These were prepared and will never be used."""

        def change(session: Session) -> None:
            for share in shares:
                session.execute(
                    delete(RefreshedShare).where(
                        RefreshedShare.model_id == share.model_id,
                        RefreshedShare.version == share.version,
                        RefreshedShare.in_use.is_(False),
                    )
                )

        if shares:
            self._write(change, counts=False)

    def retire(self, model_id: str) -> None:
        """Set a model aside; its share goes to the trash."""
        self._write(lambda session: set_states(session, {model_id: State.RETIRED}))

    def delete(self, model_id: str) -> None:
        """Leave only a tombstone."""

        def change(session: Session) -> None:
            row = session.get_one(Model, model_id)
            row.state, row.salt = State.DELETED, b""
            session.execute(delete(Unwanted).where(Unwanted.model_id == model_id))
            session.execute(delete(Enrolment).where(Enrolment.model_id == model_id))
            session.execute(delete(Released).where(Released.model_id == model_id))
            session.execute(delete(CheckSeen).where(CheckSeen.model_id == model_id))
            session.execute(delete(RefreshedShare).where(RefreshedShare.model_id == model_id))

        self._write(change)

    def say_unwanted(self, model_id: str) -> None:
        """This operator's admins want the model to be deleted."""
        self.record(lambda session: session.merge(Unwanted(model_id=model_id)))

    def refuse(self, model_id: str) -> None:
        """The check of new models has refused this uploaded model; its share stays."""

        def change(session: Session) -> None:
            session.get_one(Model, model_id).state = State.REFUSED
            session.execute(delete(CheckSeen).where(CheckSeen.model_id == model_id))

        self._write(change)

    def saw(self, model_ids: Collection[str], seen: str) -> None:
        """Record what this party saw of the checks of these models."""

        def change(session: Session) -> None:
            note_seen(session, model_ids, seen)

        if model_ids:
            self.record(change)

    def release(self, model_id: str) -> None:
        """This operator's admins let this refused model become active."""
        self.record(lambda session: session.merge(Released(model_id=model_id)))

    def enrolled(self, model_id: str, outcome: str) -> None:
        """Record what came of a model's check at enrolment."""
        self.record(lambda session: session.merge(Enrolment(model_id=model_id, outcome=outcome)))

    def forget_salts(self, model_ids: Collection[str]) -> None:
        """The shares of these retired models are gone, so their salts go too."""

        def change(session: Session) -> None:
            for model_id in model_ids:
                session.get_one(Model, model_id).salt = b""
                gone = RefreshedShare.model_id == model_id
                session.execute(delete(RefreshedShare).where(gone))

        if model_ids:
            self._write(change)

    def record(self, change: Callable[[Session], T]) -> T:
        """Commit a change of anything but models; the epoch stays. Raises DiskFull."""
        return self._write(change, counts=False)

    def replace_salts(self, salts: Mapping[tuple[str, bytes], bytes]) -> None:
        """Keep salts in another form: in place of each salt of a model (its id first), if it is
        still there, the value. No epoch: nothing has changed for the other party.
        """

        def change(session: Session) -> None:
            self._old_pages = True
            replace_salts(session, salts)

        self._write(change, counts=False)

    def _write(
        self,
        change: Callable[[Session], T],
        *,
        counts: bool = True,
        spends_reserve: bool = True,
    ) -> T:
        """Commit a change. Raises DiskFull, and then nothing has changed, or Unreachable."""
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
        with (
            self._owner.writing() as connection,
            Session(connection, expire_on_commit=False) as session,
            session.begin(),
        ):
            result = change(session)
            if counts:
                heard = {"deployment": self._epochs.deployment, "peer_epoch": self._epochs.peer}
                session.execute(update(FolderRow).values(epoch=FolderRow.epoch + 1, **heard))
            session.flush()
            said = _said(session)
        self._remember(*said)
        # If a reader is in the way, after the next change.
        self._old_pages = self._old_pages and not erase_old_pages(self._engine)
        return result

    def _remember(self, folder: FolderIdentity | None, epochs: Epochs) -> None:
        self._folder, self._epochs = folder, epochs
        if epochs.own:
            self._committed(epochs)

    def _wrong(self, connection: Connection) -> str:
        """Why the database that is there now cannot be the one of before; empty if it can."""
        mine, row = self._folder, holder(connection)
        if mine is None:
            return ""
        there = row.identity if row else None
        if wrong := refusal(Found(mine, there), mine.party):
            return wrong
        # One change of our own may have been committed without an answer, and no more than one.
        if there is not None and there.epoch > mine.epoch + 1:
            return (
                "registry: another process has changed it meanwhile; make sure that no other uses "
                "it, and start this party again"
            )
        self._folder = there
        return ""

    def _regained(self) -> None:
        with self._writing, self._reading() as session:
            # A change whose answer got lost may have been committed.
            self._remember(*_said(session))
        for regained in self._watchers:
            regained()


def _opened(url: str) -> tuple[Engine, Owner]:
    """This process owns the database, and its schema is the newest. Raises ConfigError."""
    engine = connect(url)
    with ExitStack() as undo:
        undo.callback(engine.dispose)
        try:
            owner = undo.enter_context(closing(own(engine, sqlite_file(url))))
            with owner.writing() as connection, connection.begin():
                bring_up_to_date(connection)
        except DBAPIError as error:
            raise unusable(error) from None
        except Unreachable as error:
            raise DatabaseAway(str(error)) from None
        undo.pop_all()
    return engine, owner


def _said(session: Session) -> tuple[FolderIdentity | None, Epochs]:
    columns = (FolderRow.party, FolderRow.folder, FolderRow.deployment, FolderRow.epoch)
    row = session.execute(select(*columns, FolderRow.peer_epoch)).first()
    if row is None:
        return None, Epochs()
    return FolderIdentity(*row[:4]), Epochs(row.deployment, row.epoch, row.peer_epoch)
