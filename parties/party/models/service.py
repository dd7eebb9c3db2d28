"""What a party does with models: agree with the other party, activate, delete, list, pin.

Sees one additive share of each model, as bytes it never interprets, and this party's salt of it.
Party 0 leads:

    1.  owner -> both parties   UploadModel          state uploaded, file synced
    2.  owner -> party 0        ActivateModel
        party 0 -> party 1      CheckEnrolment       where the cohort asks for it (enrolment.py)
    3.  party 0 -> party 1      PrepareModel         manifests equal, or both retire the model
    4.  party 0                 registry: active     THE commit point; the previous one retires
    5.  party 0 -> party 1      AddActiveModel       party 1 follows, or has missed something:
                                FollowActiveModels   the whole list, now or later (parts.py)

Once step 4 is done the activation stands. Until party 1 has followed, its snapshot id differs and
queries are refused, so `synchronise` sends the lists again whenever party 1 may be behind.

A deletion goes the other way round: party 1 leaves the model out first, because only it knows
whether it can write that down. The share of a retired model waits in the trash, and party 1 takes
it back if party 0 lists the model again.
"""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence

from parties.config.party import PartyConfig
from parties.party.budgets.exposure import Exposure
from parties.party.edge.peer import Peer
from parties.party.models.cohorts import Cohort, find_for
from parties.party.models.many import FollowingMany, LeadingMany
from parties.party.models.store import Store
from parties.party.models.tables import IN_USE, Model, State
from parties.party.models.uploads import Uploads, about
from privedge.errors import NotReady, Refused, UnknownModel
from privedge.identity.receipts import ACTIVATION, DELETION, Facts
from privedge.identity.roles import Identity, Role
from privedge.sharing.manifest import UploadHeader

log = logging.getLogger(__name__)


class ModelService(LeadingMany, FollowingMany):
    """The models of one party. Safe to call from several threads; one process per state folder."""

    def __init__(
        self,
        cohorts: Mapping[str, Cohort],
        store: Store,
        config: PartyConfig,
        peer: Peer | None,
    ) -> None:
        """`peer` is party 1 as seen by party 0, and None at party 1."""
        super().__init__(cohorts, store, config, peer)
        self._uploads = Uploads(cohorts, store, config.limits)
        self._trash_days = config.disk.trash_days
        self._registry.watch(self._regained)

    def upload(self, header: UploadHeader, caller: Identity, chunks: Iterable[bytes]) -> int:
        """Store one share; see Uploads.take."""
        return self._uploads.take(header, caller, chunks)

    def upload_all(self, models: Sequence[tuple[UploadHeader, bytes]], caller: Identity) -> int:
        """Store many shares; see Uploads.take_all."""
        return self._uploads.take_all(models, caller)

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

    def facts(self, model_id: str, caller: Identity) -> Facts | None:
        """What this party can state of a model now: that it is active, or deleted. Raises
        UnknownModel.
        """
        row = self._visible(model_id, caller)
        event = {State.ACTIVE: ACTIVATION, State.DELETED: DELETION}.get(State(row.state))
        if event is None:
            return None
        after = self.snapshot(row.cohort).id if row.cohort in self.cohorts else ""
        return Facts.now(event, model_id, row.owner, row.cohort, Role.party(self.party), after)

    def listed(
        self, caller: Identity, cohort: str | None, after: tuple[int, str] | None = None
    ) -> Sequence[Model]:
        """A page of the caller's models, or everybody's for an admin; newest first. `after`: see
        Registry.listed.
        """
        if cohort is not None:
            find_for(self.cohorts, cohort, caller)
        owner = None if caller.role is Role.ADMIN else caller.name
        registers = [each.name for each in self.cohorts.values() if caller.name in each.registrars]
        return self._registry.listed(owner=owner, cohort=cohort, after=after, registers=registers)

    def exposure(self, cohort: str, owner: Identity) -> Exposure:
        """How much a cohort was asked, for an owner with an active model there. Raises
        UnknownCohort, UnknownModel.
        """
        if owner.name not in self.described(cohort, owner).owners:
            raise UnknownModel(f"cohort {cohort}: no active model of this caller")
        return self.budgets.exposure(cohort, owner.name)

    def enrolment_outcomes(self, model_ids: Sequence[str]) -> Mapping[str, str]:
        """What came of the checks at enrolment, by id, where the operators are told it."""
        return self._registry.enrolments(model_ids)

    def cohorts_of(self, caller: Identity) -> list[Cohort]:
        """The cohorts that the caller may know of, in order of name."""
        return [cohort for _, cohort in sorted(self.cohorts.items()) if cohort.admits(caller)]

    @property
    def upload_bytes(self) -> int:
        """Bytes of shares received from owners since start, refused ones included."""
        return self._uploads.bytes_received

    def empty_trash(self, now: float | None = None) -> None:
        """Remove what has waited for long enough, with its salts. `now`: seconds since 1970."""
        now = time.time() if now is None else now
        self._files.empty_trash(self._trash_days, self._registry.deleted, now)
        # Under the lock: nobody may take a share back between the two steps.
        with self._rows:
            lost = self._files.lost(self._registry.retired())
            self._registry.forget_salts(lost)
            for model_id in lost:
                self._files.drop_refreshed(model_id)
        self._disk.set_aside()

    def _suspend(self, row: Model, caller: Identity) -> None:
        """Leave the model out at both parties. Once both operators want it, party 0 deletes it."""
        self.quarantine.say_unwanted(row.model_id)
        self.audit.record("suspension", **about(row), by=caller.uri)
        if self._peer is not None:
            self._quarantine_damaged(row.cohort)
            self._follow_or_later(row.cohort)

    def _regained(self) -> None:
        """The registry's database is back. What was begun before may have been committed or not, so
        everything is looked at again.
        """
        self._uploads.settle()
        with self._changing():
            for row in self._registry.live().values():
                self._files.settle(row)
            there = self._files.there()
            for model_id in self._registry.deleted(there):
                self._files.remove(model_id)
            self._set_aside(sorted(there & self._registry.retired()))
        self._notify()
        self.behind.set()
