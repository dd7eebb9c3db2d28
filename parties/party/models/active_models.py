"""A party's active models, and what may be done to them: what both sides of it share."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import NoReturn

from parties.config.party import PartyConfig
from parties.party.edge.peer import Peer
from parties.party.models.cohorts import Cohort, Snapshot, find, find_for
from parties.party.models.enrolment import Enrolments, Outcome, enough_others
from parties.party.models.holdings import Holdings
from parties.party.models.model_checks import ModelChecks
from parties.party.models.quarantine import Quarantine
from parties.party.models.refreshes import Refreshes
from parties.party.models.snapshots import Holds, Snapshots
from parties.party.models.standing import Said, Standing
from parties.party.models.store import Store
from parties.party.models.tables import IN_USE, Model
from parties.party.models.uploads import about
from privedge.errors import (
    AlreadyEnrolled,
    ManifestMismatch,
    ModelRefused,
    NotReady,
    SnapshotChanged,
    UnknownModel,
    Unreachable,
)
from privedge.identity.roles import Identity, Role
from privedge.ran.narrow import as_narrow
from privedge.rpc.server import MayLeave

log = logging.getLogger(__name__)


class ActiveModels:
    """The active models of one party. Safe to call from several threads."""

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
        self.enrolments = Enrolments()
        self.checks = ModelChecks()
        # Set while party 1 may not have party 0's active lists; see synchroniser.py.
        self.behind = threading.Event()
        self._registry = registry
        self._files = files
        self._disk = store.disk
        self._peer = peer
        self._not_followed = ""
        # One activation, deletion or synchronisation at a time, so that lists cannot overtake.
        self._leading = threading.Lock()
        # Keeps "read the active rows and hold their files" and "retire and remove" apart.
        self._rows = threading.RLock()
        self._snapshots = Snapshots(registry, files)
        self._holds = Holds(files)
        self.quarantine = Quarantine(registry, files, config.index)
        self.refreshes = Refreshes(registry, files, store.disk, self._rows, self.quarantine.suspect)
        self.holdings = Holdings(cohorts, registry, files, store.disk)
        # What the check of new models has refused, in words, as of so many releases here in this
        # epoch of the registry.
        self._refused: tuple[str, ...] = ()
        self._refused_in = 0, 0
        self._releases = 0
        self._watchers: list[Callable[[], None]] = [self.holdings.changed]
        if peer is not None:
            self.quarantine.watch(lambda _: self.behind.set())
        self.snapshots()  # so that queries need no database from now on

    def snapshot(self, cohort: str) -> Snapshot:
        """The active models now. Raises UnknownCohort. May be empty."""
        with self._rows:
            return self._snapshots.now(find(self.cohorts, cohort))

    def snapshots(self) -> list[Snapshot]:
        """The active models of every cohort now."""
        return [self.snapshot(name) for name in self.cohorts]

    def described(self, cohort: str, caller: Identity) -> Snapshot:
        """The active models now. Raises UnknownCohort. May be empty.

        Raises NotReady while one is of an owner whose name a client would read as no owner's: only
        an older release has activated it.
        """
        found = self.snapshot(find_for(self.cohorts, cohort, caller).name)
        for model in found.not_owners:
            raise NotReady(
                f"cohort {cohort}: model {model.model_id} is of an owner called {model.owner}, "
                "which is the answer for strangers; an admin must delete it"
            )
        return found

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` after every change of the active models. It must not take long."""
        self._watchers.append(changed)

    @contextmanager
    def pin(self, cohort: str, snapshot_id: str) -> Iterator[Snapshot]:
        """The snapshot a query runs on; its share files stay on disk until the block ends.

        Raises UnknownCohort, NotReady (no active model, or one alone), SnapshotChanged.
        """
        with ExitStack() as held:
            with self._rows:
                snapshot = self.snapshot(cohort)
                if not snapshot.models:
                    raise NotReady(f"cohort {cohort}: no active model yet")
                if why := snapshot.cohort.refusal(len(snapshot.models)):
                    raise NotReady(f"cohort {cohort}: {why}")
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

    def lists_fault(self) -> str:
        """Which cohorts party 1 does not have as party 0 lists them; empty if it has all."""
        return self._not_followed or self.quarantine.lacking_fault()

    @property
    def party(self) -> int:
        """0 or 1."""
        return 1 if self._peer is None else 0

    @property
    def models_active(self) -> int:
        """Active models, all cohorts together."""
        return sum(len(snapshot.models) for snapshot in self.snapshots())

    def in_use(self) -> list[str]:
        """Ids of the models that are active or quarantined."""
        rows = self._registry.live().values()
        return [row.model_id for row in rows if row.state in IN_USE]

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Change rows inside the block. After it no snapshot is older, however the block ends."""
        with self._rows:
            try:
                yield
            finally:
                self._snapshots.changed()

    def _notify(self) -> None:
        for changed in self._watchers:
            changed()

    def _visible(self, model_id: str, caller: Identity) -> Model:
        """The row, if the caller may know of it."""
        row = self._registry.get(model_id)
        if row is None or not self._may_see(row, caller):
            raise UnknownModel("no such model of this caller")
        return row

    def _may_see(self, row: Model, caller: Identity) -> bool:
        if caller.role is Role.ADMIN or row.owner == caller.name:
            return True
        cohort = self.cohorts.get(row.cohort)
        return cohort is not None and cohort.may_act(caller, row.owner)

    def _set_aside(self, retired: Iterable[str]) -> None:
        for model_id in retired:
            self._files.retire(model_id)

    def _ask_others(self, row: Model, snapshot_id: str, query_id: str, caller: MayLeave) -> bytes:
        """This party's share of whether any other owner's model takes the mean of this one for its
        own. Raises ManifestMismatch with too few other owners, and what `pin` and a query raise.
        """
        cohort = find(self.cohorts, row.cohort)
        with self.pin(row.cohort, snapshot_id) as snapshot:
            if cohort.mean_tensor is None or not enough_others(snapshot, row.owner):
                raise ManifestMismatch(f"model {row.model_id}: it is not to be checked")
            mean = self._files.tensor(row, cohort.mean_tensor)
            bits = row.manifest.bits_of(cohort.mean_tensor)
            asked = as_narrow(mean, bits, cohort.spec)
            return self.enrolments.ask(row, asked, snapshot, query_id, caller)

    def _ask_alone(self, row: Model, query_id: str, coin: bytes, caller: MayLeave) -> bytes:
        """This party's share of whether this model is to be refused. Raises what a query raises."""
        with self._rows:
            alone = self._snapshots.alone(find(self.cohorts, row.cohort), row)
            held = ExitStack()
            held.enter_context(self._holds.hold(alone))
        with held:
            return self.checks.ask(row, alone, query_id, coin, caller)

    def refuse_checked(self, row: Model) -> ModelRefused:
        """Note that the check of new models refuses an upload, and count it for its owner."""
        with self._changing():
            self._registry.refuse(row.model_id)
        log.warning(
            "model %s of cohort %s: refused by the check of new models; both operators can release "
            "it with privedge models release", row.model_id, row.cohort
        )  # fmt: skip
        self.audit.record("refusal", **about(row))
        self.budgets.refusal(self._answers_for(row))
        self.budgets.count_model(row.cohort, refused=True)
        return self.refused(row)

    def _answers_for(self, row: Model) -> str:
        """Who is charged if this model is refused."""
        return find(self.cohorts, row.cohort).answers_for(row.owner)

    def refused(self, row: Model) -> ModelRefused:
        """What the owner of a refused model is told."""
        return ModelRefused(f"model {row.model_id}: refused by the check of new models")

    @property
    def refused_lines(self) -> tuple[str, ...]:
        """For operators: each refused model, and whether this operator has released it."""
        with suppress(Unreachable):  # then as they were before
            self._look_for_refused()
        return self._refused

    def _look_for_refused(self) -> None:
        """Ask the registry, unless nothing has changed there: operators ask often."""
        now = self._registry.epochs.own, self._releases
        if now[0] and now == self._refused_in:
            return
        released = self._registry.released()
        self._refused = tuple(
            f"model {row.model_id} of cohort {row.cohort}: refused by the check of new models, "
            + ("released here" if row.model_id in released else "not released here")
            for row in self._registry.refused()
        )
        self._refused_in = now

    def _release_here(self, model_id: str) -> None:
        """Record that this operator lets a refused model become active."""
        self._registry.release(model_id)
        self._releases += 1

    def _record_enrolment(self, row: Model, outcome: Outcome) -> None:
        """For the audit log, and for what operators are told of the model."""
        self._registry.enrolled(row.model_id, outcome)
        log.info("model %s: checked at enrolment", row.model_id)
        self.audit.record("enrolment", **about(row), outcome=outcome)

    def _refuse(self, row: Model) -> AlreadyEnrolled:
        """Retire an upload whose person is among the owners already."""
        with self._changing():
            self._registry.retire(row.model_id)
            self._set_aside([row.model_id])
        self.budgets.count_model(row.cohort, refused=True)
        return AlreadyEnrolled(f"model {row.model_id}: another owner's model fits its person")

    def _make_active(self, rows: Sequence[Model]) -> Snapshot:
        """These rows of one cohort become their owners' active ones; returns the snapshot of
        before.
        """
        cohort = rows[0].cohort
        with self._rows:
            before = self.snapshot(cohort)
            with self._changing():
                retired = self._registry.activate_all([row.model_id for row in rows])
                self._set_aside(retired)
                for owner in set(
                    retired.values()
                ):  # or one who replaces models all day would fill the disk
                    of_owner = self._registry.retired(owner)
                    self._files.forget_all_but(self.limits.max_models_per_owner, of_owner)
            # Not read anew: with thousands of models that would be most of an activation.
            self._snapshots.added(before, rows)
        for _ in rows:
            self.budgets.count_model(cohort)
        return before

    def _reject(self, row: Model) -> NoReturn:
        # An active one has been agreed upon: a wrong digest says nothing about it.
        if row.state not in IN_USE:
            with self._changing():
                self._registry.retire(row.model_id)
                self._set_aside([row.model_id])
        raise ManifestMismatch(f"model {row.model_id}: the parties got different manifests")

    def _delete_unwanted(self, row: Model, *, by: str) -> None:
        with self._rows:
            self._registry.delete(row.model_id)
            self._files.remove(row.model_id)
        self.quarantine.forget(row.model_id)
        log.info("model %s: deleted", row.model_id)
        self.audit.record("deletion", **about(row), by=by)

    def _record_refresh(self, cohort: str, versions: Mapping[str, str]) -> None:
        """For the audit log: from now on the shares of these models, by id, are of these versions,
        which are public.
        """
        self.audit.record_all(
            "refresh",
            [
                {"model": model_id, "cohort": cohort, "version": version}
                for model_id, version in versions.items()
            ],
        )

    @property
    def _said(self) -> Said:
        return self.standing.mine
