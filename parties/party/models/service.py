"""What a party does with models: agree with the other party, activate, delete, list, pin.

Sees one additive share of each model, as bytes it never interprets, and this party's salt of it.
Party 0 leads:

    1.  owner -> both parties   UploadModel          state uploaded, file synced
    2.  owner -> party 0        ActivateModel
    3.  party 0 -> party 1      PrepareModel         manifests equal, or both retire the model
    4.  party 0                 registry: active     THE commit point; the previous one retires
    5.  party 0 -> party 1      AddActiveModel       party 1 follows, or has missed something:
                                SetActiveModels      the whole list, now or later

Once step 4 is done the activation stands. Until party 1 has followed, its snapshot id differs and
queries are refused, so `synchronise` sends the lists again whenever party 1 may be behind.

A deletion goes the other way round: party 1 leaves the model out first, because only it knows
whether it can write that down. The share of a retired model waits in the trash, and party 1 takes
it back if party 0 lists the model again.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

from parties.config.party import PartyConfig
from parties.party.edge.peer import Peer
from parties.party.models.cohorts import (
    Cohort,
    ModelRef,
    Snapshot,
    SnapshotModel,
    find,
    find_for,
)
from parties.party.models.holdings import Holdings
from parties.party.models.quarantine import IN_USE, Quarantine
from parties.party.models.refreshes import Prepared, Refreshes
from parties.party.models.snapshots import Holds, Snapshots
from parties.party.models.standing import Said, Standing
from parties.party.models.store import Store
from parties.party.models.tables import Model, State
from parties.party.models.uploads import Uploads, about
from privedge.errors import (
    DeadlineExceeded,
    DigestMismatch,
    ManifestMismatch,
    NotAllowed,
    NotReady,
    Refused,
    SnapshotChanged,
    TermsDiffer,
    UnknownModel,
    Unreachable,
)
from privedge.identity.roles import Identity, Role
from privedge.sharing.manifest import UploadHeader

log = logging.getLogger(__name__)

# After these answers of party 1 a deletion goes on: it follows as soon as it can.
_FOLLOWS_LATER = (Unreachable, DeadlineExceeded, ManifestMismatch, TermsDiffer)


class ModelService:
    """The models of one party. Safe to call from several threads; one process per state folder."""

    def __init__(
        self,
        cohorts: Mapping[str, Cohort],
        store: Store,
        config: PartyConfig,
        peer: Peer | None,
    ) -> None:
        """`peer` is party 1 as seen by party 0, and None at party 1."""
        registry, files = store.registry, store.files
        self.cohorts = cohorts
        self.limits = config.limits
        self.budgets = store.budgets
        self.asked = store.asked
        self.audit = store.audit
        self.standing = Standing(registry, config.index)
        # Set while party 1 may not have party 0's active lists; see synchroniser.py.
        self.behind = threading.Event()
        self._registry = registry
        self._files = files
        self._disk = store.disk
        self._trash_days = config.disk.trash_days
        self._peer = peer
        # One activation, deletion or synchronisation at a time, so that lists cannot overtake.
        self._leading = threading.Lock()
        # Keeps "read the active rows and hold their files" and "retire and remove" apart.
        self._rows = threading.RLock()
        self._snapshots = Snapshots(registry, files)
        self._holds = Holds(files)
        self._uploads = Uploads(cohorts, store, config.limits)
        self.quarantine = Quarantine(registry, files, config.index)
        self.refreshes = Refreshes(registry, files, store.disk, self.quarantine.suspect)
        self.holdings = Holdings(cohorts, registry, files, store.disk)
        self._watchers: list[Callable[[], None]] = [self.holdings.changed]
        if peer is not None:
            self.quarantine.watch(lambda _: self.behind.set())
        self.snapshots()  # so that queries need no database from now on
        registry.watch(self._regained)

    # --- What owners ask for ----------------------------------------------------------------------

    def upload(self, header: UploadHeader, caller: Identity, chunks: Iterable[bytes]) -> int:
        """Store one share; see Uploads.take."""
        return self._uploads.take(header, caller, chunks)

    def activate(self, model_id: str, caller: Identity) -> str:
        """Party 0: make an uploaded model its owner's active one; returns the new snapshot id.

        Raises UnknownModel, NotReady (not yet at party 1), ManifestMismatch (both parties have
        retired the model), DigestMismatch (quarantined), BudgetSpent (here or at party 1),
        DiskFull, Unreachable, DeadlineExceeded.
        """
        peer = self._leads()
        with self._leading:
            row = self._visible(model_id, caller)
            find_for(self.cohorts, row.cohort, caller)
            if row.state in (State.RETIRED, State.DELETED):
                raise UnknownModel(f"model {model_id}: {row.state}; upload it afresh")
            if row.state == State.QUARANTINED:
                raise DigestMismatch(f"model {model_id}: a share is damaged; upload it afresh")
            if row.state != State.ACTIVE:
                with self.budgets.activation(row.owner):
                    self._agree(peer, row)
                    before = self._make_active(row)
                log.info("model %s: active", model_id)
                self.audit.record("activation", **about(row))
                self._notify()
                self._follow_or_later(row.cohort, lambda: self._send_added(before, row))
            else:
                self._follow_or_later(row.cohort)
            return self.snapshot(row.cohort).id

    def delete(self, model_id: str, caller: Identity) -> bool:
        """Remove a model at this party; again is fine. An admin's deletion of a model in use only
        suspends it, and returns True: it needs an admin of the other operator too.

        Raises UnknownModel; DiskFull, here or at party 1, and then nothing has changed; and at
        party 1 NotReady while the model is still party 0's to use.
        """
        with self._leading:
            row = self._visible(model_id, caller)
            if caller.role is Role.ADMIN and row.state in (State.PREPARED, *IN_USE):
                self._suspend(row, caller)
                return True
            if self._peer is not None and row.state in IN_USE:
                self._leave_out(row)
            with self._changing():
                row = self._visible(model_id, caller)
                # Otherwise one owner could leave a cohort without an answer: party 0 would go on
                # asking for a model that party 1 no longer has.
                if self._peer is None and row.state in (State.PREPARED, *IN_USE):
                    raise NotReady(f"model {model_id}: delete it at party 0 first")
                try:
                    self._registry.delete(model_id)
                except Refused:
                    self.behind.set()  # party 1 may have left it out
                    raise
                self._files.remove(model_id)
                self.quarantine.forget(model_id)
            self._disk.set_aside()
            self._notify()
            if self._peer is not None and row.state != State.DELETED:
                self._follow_or_later(row.cohort)
        log.info("model %s: deleted", model_id)
        self.audit.record("deletion", **about(row), by=caller.uri)
        return False

    def cohort_of(self, model_id: str, caller: Identity) -> str:
        """The cohort of a model that the caller may know of. Raises UnknownModel."""
        return self._visible(model_id, caller).cohort

    def listed(self, caller: Identity, cohort: str | None) -> Sequence[Model]:
        """The caller's models, or everybody's for an admin; newest first."""
        if cohort is not None:
            find_for(self.cohorts, cohort, caller)
        owner = None if caller.role is Role.ADMIN else caller.name
        return self._registry.listed(owner=owner, cohort=cohort)

    def cohorts_of(self, caller: Identity) -> list[Cohort]:
        """The cohorts that the caller may know of, in order of name."""
        return [cohort for _, cohort in sorted(self.cohorts.items()) if cohort.admits(caller)]

    def described(self, cohort: str, caller: Identity) -> Snapshot:
        """The active models now. Raises UnknownCohort. May be empty."""
        return self.snapshot(find_for(self.cohorts, cohort, caller).name)

    # --- What queries need ------------------------------------------------------------------------

    def snapshot(self, cohort: str) -> Snapshot:
        """The active models now. Raises UnknownCohort. May be empty."""
        with self._rows:
            return self._snapshots.now(find(self.cohorts, cohort))

    def snapshots(self) -> list[Snapshot]:
        """The active models of every cohort now."""
        return [self.snapshot(name) for name in self.cohorts]

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` after every change of the active models. It must not take long."""
        self._watchers.append(changed)

    @contextmanager
    def pin(self, cohort: str, snapshot_id: str) -> Iterator[Snapshot]:
        """The snapshot a query runs on; its share files stay on disk until the block ends.

        Raises UnknownCohort, NotReady (no active model), SnapshotChanged.
        """
        with ExitStack() as held:
            with self._rows:
                snapshot = self.snapshot(cohort)
                if not snapshot.models:
                    raise NotReady(f"cohort {cohort}: no active model yet")
                if snapshot.id != snapshot_id:
                    raise SnapshotChanged(f"cohort {cohort}: its models changed; ask again")
                held.enter_context(self._holds.hold(snapshot))
            yield snapshot

    @contextmanager
    def hold(self, snapshot: Snapshot) -> Iterator[None]:
        """Keep the files of a snapshot that somebody has pinned until this block ends too."""
        with self._holds.hold(snapshot):
            yield

    def registry_fault(self) -> str:
        """Why no model can be uploaded, activated or deleted now; empty if they can."""
        fault = self._registry.fault()
        return f"the database is away: {fault}" if fault else ""

    @property
    def party(self) -> int:
        """0 or 1."""
        return 1 if self._peer is None else 0

    @property
    def upload_bytes(self) -> int:
        """Bytes of shares received from owners since start, refused ones included."""
        return self._uploads.bytes_received

    @property
    def models_active(self) -> int:
        """Active models, all cohorts together."""
        return sum(len(snapshot.models) for snapshot in self.snapshots())

    def in_use(self) -> list[str]:
        """Ids of the models that are active or quarantined."""
        rows = self._registry.live().values()
        return [row.model_id for row in rows if row.state in IN_USE]

    # --- Between the parties ----------------------------------------------------------------------

    def synchronise(self, cohort: str | None = None) -> None:
        """Party 0: send party 1 the active list of one cohort, or of all that ever had a model.
        What is damaged at either party leaves the list before, and what no longer is comes back.

        A party 0 that was started on an empty state folder by mistake knows of none: its empty
        lists would make party 1 drop every share it has.

        Raises Unreachable, DeadlineExceeded, or ManifestMismatch if party 1 lacks a listed model.
        """
        with self._leading:
            for name in self.cohorts if cohort is None else [cohort]:
                if self._registry.knows(name):
                    self._quarantine_damaged(name)
                    if self._delete_agreed(name, self._send_active(name)):
                        self._send_active(name)

    def prepare(self, ref: ModelRef) -> None:
        """Party 1: step 3. Raises UnknownModel; BudgetSpent; ManifestMismatch after retiring the
        model.
        """
        with self._rows:
            row = self._registry.get(ref.model_id)
            if (
                row is None
                or row.state in (State.RETIRED, State.DELETED)
                or not self._may_join(row)
            ):
                raise UnknownModel(f"model {ref.model_id}: not uploaded to this party")
            if row.manifest_digest != ref.manifest_digest:
                self._reject(row)
            if row.state == State.UPLOADED:
                with self.budgets.activation(row.owner):
                    self._registry.prepare(ref.model_id)

    def add(self, cohort: str, since: str, ref: ModelRef) -> None:
        """Party 1: step 5 when one model was added to the snapshot `since`. Raises UnknownCohort,
        or ManifestMismatch and changes nothing.
        """
        find(self.cohorts, cohort)
        with self._rows:
            if self.snapshot(cohort).id != since:
                raise ManifestMismatch(f"cohort {cohort}: party 0 had other models before")
            row = self._held(self._registry.get(ref.model_id), cohort, ref)
            if row.version != ref.version:
                raise ManifestMismatch(f"model {ref.model_id}: the shares do not fit")
            self._make_active(row)
            self.audit.record("activation", **about(row))
        self._notify()

    def follow(
        self, cohort: str, refs: Sequence[ModelRef], quarantined: Sequence[ModelRef] = ()
    ) -> None:
        """Party 1: step 5. Raises UnknownCohort, or ManifestMismatch and changes nothing."""
        find(self.cohorts, cohort)
        before = self.snapshot(cohort).models
        with self._changing():
            kept = self._registry.kept(cohort)
            rows = [self._held(kept.get(ref.model_id), cohort, ref) for ref in refs]
            if len({row.owner for row in rows}) != len(refs):
                raise ManifestMismatch(f"cohort {cohort}: an owner is listed twice")
            wanted = dict.fromkeys((row.model_id for row in rows), State.ACTIVE)
            for ref in quarantined:
                with suppress(ManifestMismatch):  # one that is not here is left out in any case
                    row = self._held(kept.get(ref.model_id), cohort, ref)
                    wanted.setdefault(row.model_id, State.QUARANTINED)
            listed = [ref for ref in (*refs, *quarantined) if ref.model_id in wanted]
            apart = self.refreshes.catch_up(listed, kept)
            wanted |= dict.fromkeys(apart, State.QUARANTINED)
            retired = self._registry.follow(cohort, wanted)
            for model_id in retired:
                log.warning("model %s: no longer on party 0's list, retired", model_id)
            self._set_aside(retired)
        for model_id in self.quarantine.unwanted.intersection(retired):
            self._delete_unwanted(kept[model_id])
        self._record_changes(before, self.snapshot(cohort))
        self._notify()
        self.quarantine.set_apart(kept.keys() - apart, apart)

    def prepare_refresh(self, ref: ModelRef, seed: bytes) -> None:
        """Party 1: write the refreshed share of an active model beside its present one; again is
        fine. Raises ManifestMismatch for another model or version than is active here, ShareError,
        DiskFull, and DigestMismatch if the present share is damaged.
        """
        self.refreshes.answer(ref, seed)

    # --- Refreshing shares ------------------------------------------------------------------------

    def refresh(self, cohort: str | None = None) -> int:
        """Party 0: both parties get new shares of the active models of one cohort, or of all.

        Returns how many models have new shares. Party 1 follows, or will as soon as it can. Raises
        NotAllowed at party 1, UnknownCohort, Busy while another refresh runs, DigestMismatch,
        ManifestMismatch, DiskFull, Unreachable or DeadlineExceeded; then the cohort in which it
        happened has its old shares.
        """
        if self._peer is None:
            raise NotAllowed("only party 0 refreshes shares")
        names = list(self.cohorts) if cohort is None else [find(self.cohorts, cohort).name]
        with self.refreshes.one_at_a_time():
            return sum(self._refresh(self._peer, name) for name in names)

    def _regained(self) -> None:
        """The registry's database is back. What was begun before may have been committed or not, so
        everything is looked at again.
        """
        self._uploads.settle()
        with self._changing():
            there = self._files.there()
            for model_id in self._registry.deleted(there):
                self._files.remove(model_id)
            self._set_aside(sorted(there & self._registry.retired()))
        self._notify()
        self.behind.set()

    # --- By the clock -----------------------------------------------------------------------------

    def empty_trash(self, now: float | None = None) -> None:
        """Remove what has waited for long enough, with its salts. `now`: seconds since 1970."""
        now = time.time() if now is None else now
        self._files.empty_trash(self._trash_days, self._registry.deleted, now)
        # Under the lock: nobody may take a share back between the two steps.
        with self._rows:
            self._registry.forget_salts(self._files.lost(self._registry.retired()))
        self._disk.set_aside()

    # --- Parts ------------------------------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Change rows inside the block. After it no snapshot is older, however the block ends."""
        with self._rows:
            try:
                yield
            finally:
                self._snapshots.changed()

    def _visible(self, model_id: str, caller: Identity) -> Model:
        """The row, if the caller may know of it."""
        row = self._registry.get(model_id)
        if row is None or (caller.role is not Role.ADMIN and row.owner != caller.name):
            raise UnknownModel("no such model of this caller")
        return row

    def _record_changes(self, before: Sequence[SnapshotModel], after: Snapshot) -> None:
        """What following party 0 has changed, for the audit log."""
        were, are = ({each.model_id: each for each in models} for models in (before, after.models))
        for event, some, others in (("activation", are, were), ("left out", were, are)):
            self.audit.record_all(
                event,
                [
                    {"model": model_id, "cohort": after.cohort.name, "owner": each.owner}
                    for model_id, each in some.items()
                    if model_id not in others
                ],
            )

    def _may_join(self, row: Model) -> bool:
        cohort = self.cohorts.get(row.cohort)
        return cohort is not None and cohort.admits(Identity(Role.OWNER, row.owner))

    def _leads(self) -> Peer:
        if self._peer is None:
            raise NotAllowed("only party 0 activates models")
        return self._peer

    def _notify(self) -> None:
        for changed in self._watchers:
            changed()

    def _agree(self, peer: Peer, row: Model) -> None:
        """Step 3 as party 0 sees it."""
        try:
            self._heard(peer.prepare(_ref(row), self._said))
        except UnknownModel:
            raise NotReady(f"model {row.model_id}: upload it to party 1 as well") from None
        except ManifestMismatch:
            self._reject(row)

    def _reject(self, row: Model) -> None:
        # An active one has been agreed upon: a wrong digest says nothing about it.
        if row.state not in IN_USE:
            with self._changing():
                self._registry.retire(row.model_id)
                self._set_aside([row.model_id])
        raise ManifestMismatch(f"model {row.model_id}: the parties got different manifests")

    def _set_aside(self, retired: Sequence[str]) -> None:
        for model_id in retired:
            self._files.retire(model_id)

    def _held(self, row: Model | None, cohort: str, ref: ModelRef) -> Model:
        """Party 1's row of a model that party 0 lists; its share is there, taken back from the
        trash if need be. Raises ManifestMismatch.
        """
        if (
            row is None
            or row.state == State.DELETED
            or (row.cohort, row.manifest_digest) != (cohort, ref.manifest_digest)
            or (row.state == State.RETIRED and not self._files.revive(ref.model_id))
        ):
            raise ManifestMismatch(f"model {ref.model_id}: party 0 lists it, this party lacks it")
        return row

    def _make_active(self, row: Model) -> Snapshot:
        """The row becomes its owner's active one; returns the snapshot of before."""
        with self._rows:
            before = self.snapshot(row.cohort)
            with self._changing():
                retired = self._registry.activate(row.model_id)
                self._set_aside(retired)
                if retired:  # or an owner who replaces models all day would fill the disk
                    of_owner = self._registry.retired(row.owner)
                    self._files.forget_all_but(self.limits.max_models_per_owner, of_owner)
            # Not read anew: with thousands of models that would be most of an activation.
            self._snapshots.added(before, row)
            return before

    def _refresh(self, peer: Peer, cohort: str) -> int:
        """Steps 1 to 5 of a refresh, as party 0 sees them."""
        rows = self._registry.active(cohort)
        with self.refreshes.prepared_for(
            rows,
            lambda row, seed: self._heard(peer.prepare_refresh(_ref(row), seed, self._said)),
        ) as prepared:
            with self._leading:
                used = self._use_refreshed(cohort, prepared)
                if used:
                    self._notify()
                    self._follow_or_later(cohort)
                    self.standing.record()
            return used

    def _use_refreshed(self, cohort: str, prepared: Prepared) -> int:
        """Step 4 of a refresh, for the models that are still active; how many these are."""
        with self._changing():
            active = {row.model_id for row in self._registry.active(cohort)}
            return prepared.use(active)

    @property
    def _said(self) -> Said:
        return self.standing.mine

    def _heard(self, said: Said | None) -> None:
        """Party 1's state, as it says once it has followed; the next hello judges it."""
        for line in self.standing.hear(said, lasting=False):
            log.error("party 1: %s", line)

    def _suspend(self, row: Model, caller: Identity) -> None:
        """Leave the model out at both parties. Once both operators want it, party 0 deletes it."""
        self.quarantine.say_unwanted(row.model_id)
        self.audit.record("suspension", **about(row), by=caller.uri)
        if self._peer is not None:
            self._quarantine_damaged(row.cohort)
            self._follow_or_later(row.cohort)

    def _delete_agreed(self, cohort: str, unwanted_there: frozenset[str]) -> bool:
        """Party 0: delete what both operators want to be deleted; whether there was any."""
        agreed = self.quarantine.unwanted & unwanted_there
        rows = [row for row in self._registry.quarantined(cohort) if row.model_id in agreed]
        for row in rows:
            self._delete_unwanted(row)
        return bool(rows)

    def _delete_unwanted(self, row: Model) -> None:
        with self._rows:
            self._registry.delete(row.model_id)
            self._files.remove(row.model_id)
        self.quarantine.forget(row.model_id)
        log.info("model %s: deleted", row.model_id)
        self.audit.record("deletion", **about(row), by="both operators")

    def _send_active(self, cohort: str, *, without: str = "") -> frozenset[str]:
        """Returns the ids of what party 1's operator wants to be deleted."""
        active, left_out = (
            [_ref(each) for each in models if each.model_id != without]
            for models in (self.snapshot(cohort).models, self._registry.quarantined(cohort))
        )
        said, unwanted = self._leads().set_active(cohort, active, left_out, self._said)
        self._heard(said)
        return unwanted

    def _quarantine_damaged(self, cohort: str) -> None:
        damaged, known = self.quarantine.damaged()
        with self._changing():
            changes = self._registry.quarantine(cohort, damaged, release=known)
        for model_id, state in changes.items():
            log.warning("model %s of cohort %s: %s", model_id, cohort, state)
            self.audit.record("damage", model=model_id, cohort=cohort, state=state)
        if changes:
            self._notify()

    def _leave_out(self, row: Model) -> None:
        """Before a deletion at party 0. Raises what keeps party 1 from it."""
        try:
            self._send_active(row.cohort, without=row.model_id)
        except _FOLLOWS_LATER as error:
            log.warning("model %s: deleted before party 1 follows: %s", row.model_id, error)

    def _send_added(self, before: Snapshot, row: Model) -> None:
        ref = _ref(row)
        try:
            self._heard(self._leads().add_active(row.cohort, before.id, ref, self._said))
        except ManifestMismatch:
            self._send_active(row.cohort)

    def _follow_or_later(self, cohort: str, send: Callable[[], object] | None = None) -> None:
        """Step 5 as party 0 sees it; a failure is not the caller's."""
        try:
            send() if send is not None else self._send_active(cohort)
        except Refused as error:
            log.warning("cohort %s: party 1 does not follow yet: %s", cohort, error)
            self.behind.set()


def _ref(model: Model | SnapshotModel) -> ModelRef:
    return ModelRef(model.model_id, model.manifest_digest, model.version)
