"""Party 0's side of what the parties do with models (service.py): it leads, and commits first."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from parties.party.edge.peer import Peer
from parties.party.models.cohorts import Snapshot, find, find_for
from parties.party.models.enrolment import Activated
from parties.party.models.leading_checks import LeadingChecks, ref_of
from parties.party.models.model_checks import Shown
from parties.party.models.refreshes import Prepared
from parties.party.models.tables import Model, State
from parties.party.models.uploads import about
from privedge.errors import (
    Busy,
    DeadlineExceeded,
    DigestMismatch,
    ManifestMismatch,
    ModelRefused,
    NotAllowed,
    NotReady,
    PrivEdgeError,
    Refused,
    TermsDiffer,
    UnknownCohort,
    UnknownModel,
    Unreachable,
)
from privedge.identity.roles import Identity

log = logging.getLogger(__name__)


# After these answers of party 1 a deletion goes on: it follows as soon as it can.
_FOLLOWS_LATER = (Unreachable, DeadlineExceeded, ManifestMismatch, TermsDiffer)


class Leading(LeadingChecks):
    """What party 0 decides, and tells party 1."""

    def activate(self, model_id: str, caller: Identity) -> str:
        """Party 0: make an uploaded model its owner's active one; returns the new snapshot id.

        Raises UnknownModel, NotReady (not yet at party 1), ManifestMismatch (both parties have
        retired the model), DigestMismatch (quarantined), BudgetSpent (here or at party 1),
        AlreadyEnrolled (both parties have retired the model; the activation is charged),
        ModelRefused (both parties keep it, refused; likewise), DiskFull, Unreachable,
        DeadlineExceeded.
        """
        peer = self._leads()
        with self._leading:
            row = self._visible(model_id, caller)
            find_for(self.cohorts, row.cohort, caller)
            if row.state in (State.RETIRED, State.DELETED):
                raise UnknownModel(f"model {model_id}: {row.state}; upload it afresh")
            if row.state == State.QUARANTINED:
                raise DigestMismatch(f"model {model_id}: a share is damaged; upload it afresh")
            if row.state == State.REFUSED:
                self._activate_released(peer, row)
            elif row.state != State.ACTIVE:
                with self.budgets.activation(row.owner):
                    told = self._agree(peer, row)
                    if isinstance(told, Activated):
                        before = self._make_active([row])
                # What is refused costs an activation too: it is an answer.
                if not isinstance(told, Activated):
                    raise told
                self._activated(before, row, told)
            else:
                self._follow_or_later(row.cohort)
            return self.snapshot(row.cohort).id

    def release(self, model_id: str, caller: Identity) -> bool:
        """An admin of this operator lets a refused model become active. Returns whether it is: it
        needs an admin of the other operator too. Again is fine.

        Raises UnknownModel; NotReady for a model that was not refused; DiskFull.
        """
        with self._leading:
            row = self._visible(model_id, caller)
            if row.state == State.ACTIVE:
                return True
            if row.state != State.REFUSED:
                raise NotReady(f"model {model_id}: it is {row.state}, and was not refused")
            self._release_here(model_id)
            self.audit.record("release", **about(row), by=caller.uri)
            return self._peer is not None and self._try_released(self._peer, row)

    def activate_released(self) -> None:
        """Party 0: activate what both operators have released meanwhile."""
        peer = self._leads()
        with self._leading:
            released = self._registry.released()
            for row in self._registry.refused():
                if row.model_id in released:
                    try:
                        self._try_released(peer, row)
                    except PrivEdgeError as error:  # the others must not wait for this one
                        log.warning(
                            "model %s: released, and not active: %s",
                            row.model_id, type(error).__name__,
                        )  # fmt: skip

    def synchronise(self) -> None:
        """Party 0: send party 1 the active list of every cohort that ever had a model. What
        is damaged or missing at either party leaves the list before, and what no longer is comes
        back. A cohort that party 1 refuses holds up no other.

        A party 0 that was started on an empty state folder by mistake knows of none: its empty
        lists would make party 1 drop every share it has.

        Raises Unreachable, DeadlineExceeded, or ManifestMismatch if party 1 lacks a listed model.
        """
        with self._leading:
            refusals = []
            for name in filter(self._registry.knows, self.cohorts):
                try:
                    self._quarantine_damaged(name)
                    # Party 1 names some at a time; those that it has deleted it names no more.
                    unwanted, told = self._send_active(name), set[str]()
                    while deleted := self._delete_agreed(name, unwanted) - told:
                        unwanted = self._send_active(name, deleted=deleted)
                        told |= deleted
                except (ManifestMismatch, UnknownCohort) as error:
                    refusals.append(f"cohort {name}: {error}")
            self._not_followed = "; ".join(refusals)
            if refusals:
                raise ManifestMismatch(self._not_followed)

    def refresh(self, cohort: str | None = None, *, least_age_s: float = 0.0) -> int:
        """Party 0: both parties get new shares of the active models of one cohort, or of all.

        Returns how many models have new shares. Party 1 follows, or will as soon as it can. Raises
        NotAllowed at party 1, UnknownCohort, Busy while another refresh runs or if shares were
        refreshed in the last `least_age_s` seconds, DiskFull, Unreachable or DeadlineExceeded; then
        the cohort in which it happened has its old shares. A model whose share is damaged keeps its
        own, and the log says so.
        """
        if self._peer is None:
            raise NotAllowed("only party 0 refreshes shares")
        names = list(self.cohorts) if cohort is None else [find(self.cohorts, cohort).name]
        with self.refreshes.one_at_a_time():
            self._require_age(names, least_age_s)
            return sum(self._refresh(self._peer, name) for name in names)

    def _require_age(self, cohorts: Sequence[str], least_s: float) -> None:
        now = time.time()
        rows = [row for cohort in cohorts for row in self._registry.active(cohort)]
        ages = [now - row.share_since for row in rows if row.version]
        # A negative one says that the clock was set back.
        left = max((least_s - age for age in ages if age >= 0), default=0.0)
        if left > 0:
            raise Busy("the shares were refreshed a short time ago", left)

    def _refresh(self, peer: Peer, cohort: str) -> int:
        """Steps 1 to 5 of a refresh, as party 0 sees them."""
        with self._leading:  # party 1 is in step, and drops what it has prepared in vain
            self._follow_or_later(cohort)
        rows = self._registry.active(cohort)
        with self.refreshes.prepared_for(
            rows,
            lambda row, seed: self._heard(peer.prepare_refresh(ref_of(row), seed, self._said)),
        ) as prepared:
            with self._leading:
                try:
                    used = self._use_refreshed(cohort, prepared)
                except Exception:  # it may have committed
                    self.behind.set()
                    raise
                if used:
                    self._notify()
                    self._follow_or_later(cohort)
                    self.standing.record()
            return used

    def _try_released(self, peer: Peer, row: Model) -> bool:
        """Whether it is active now; False as long as the other operator has not released it."""
        try:
            self._activate_released(peer, row)
        except (ModelRefused, *_FOLLOWS_LATER):
            return False
        return True

    def _activate_released(self, peer: Peer, row: Model) -> None:
        """Both operators take the model as it is. Raises ModelRefused unless both have said so."""
        if row.model_id not in self._registry.released():
            raise self.refused(row)
        self._heard(peer.prepare(ref_of(row), self._said, Shown(released=True)))
        self._activated(self._make_active([row]), row, Activated())

    def _activated(self, before: Snapshot, row: Model, told: Activated) -> None:
        """Step 5, and what the owner and the log are told of it."""
        replaced = [each.model_id for each in before.models if each.owner == row.owner]
        told = replace(told, replaced=next(iter(replaced), ""))
        self.enrolments.tell(row.model_id, told)
        log.info("model %s: active", row.model_id)
        self.audit.record("activation", **about(row))
        self._notify()
        self._follow_or_later(row.cohort, lambda: self._send_added(before, row))

    def _use_refreshed(self, cohort: str, prepared: Prepared) -> int:
        """Step 4 of a refresh, for the models that are still active; how many these are."""
        with self._changing():
            before = {row.model_id: row.version for row in self._registry.active(cohort)}
            used = prepared.use(before)
            after = {row.model_id: row.version for row in self._registry.active(cohort)}
        self._record_refresh(cohort, dict(after.items() - before.items()))
        return used

    def _delete_agreed(self, cohort: str, unwanted_there: frozenset[str]) -> set[str]:
        """Party 0: delete what both operators want to be deleted. Returns the ids of everything
        that party 1's operator wants to be deleted and that is deleted here, now or before.
        """
        agreed = self.quarantine.unwanted & unwanted_there
        for row in self._registry.quarantined(cohort):
            if row.model_id in agreed:
                self._delete_unwanted(row, by="both operators")
        return self._registry.deleted(unwanted_there)

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
        ref = ref_of(row)
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
