"""Activations of many models of one cohort at once (service.py): as for one, in groups.

What is written and told for one model is written and told for all of them together. A cohort whose
models are checked has no such groups: each check is a query of its own, so its models become active
one after the other.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from parties.party.edge.peer import Peer
from parties.party.models.cohorts import Cohort, ModelRef, Snapshot, find, find_for
from parties.party.models.following import Following
from parties.party.models.leading import Leading
from parties.party.models.leading_checks import ref_of
from parties.party.models.tables import IN_USE, Model, State
from parties.party.models.uploads import MOST_ACTIVATED, about
from privedge.errors import (
    AlreadyEnrolled,
    BudgetSpent,
    DigestMismatch,
    ManifestMismatch,
    ModelRefused,
    NotReady,
    PrivEdgeError,
    ShareError,
    UnknownModel,
)
from privedge.identity.roles import Identity
from privedge.rpc.deadline import Deadline

log = logging.getLogger(__name__)

# How long one call may go on with models that are activated one after the other.
_ONE_BY_ONE_S = 20.0
# What says something of one model, and nothing of the others.
_OF_ONE = (
    UnknownModel,
    NotReady,
    ManifestMismatch,
    DigestMismatch,
    BudgetSpent,
    AlreadyEnrolled,
    ModelRefused,
)


@dataclass(frozen=True)
class Concluded:
    """What became of one model. replaced: the id of the model of its owner that it has put out of
    use; empty if there was none. refusal: why it is not active; None if it is.
    """

    model_id: str
    replaced: str = ""
    refusal: PrivEdgeError | None = None


def is_checked(cohort: Cohort) -> bool:
    """Whether new models of a cohort are checked, one by one."""
    return cohort.model_check is not None or cohort.enrolment_check != "off"


class LeadingMany(Leading):
    """Party 0's side."""

    def activate_all(self, model_ids: Sequence[str], caller: Identity) -> list[Concluded]:
        """Party 0: as `activate`, for many uploaded models of one cohort, of as many owners.
        Returns what became of them, or only of the first ones if each takes long.

        Raises ShareError for models of several cohorts, for several of one owner, and for too many;
        UnknownModel, and then nothing has changed; DiskFull, Unreachable, DeadlineExceeded.
        """
        peer = self._leads()
        rows = self._of_caller(model_ids, caller)
        cohort = find_for(self.cohorts, rows[0].cohort, caller)
        if is_checked(cohort):
            return self._one_by_one(model_ids, caller)
        try:
            with self._leading:
                rows = self._of_caller(model_ids, caller)  # nothing changes now
                return self._together(peer, rows)
        except NotReady:  # of the whole call: party 1 is of a release that knows no groups
            return self._one_by_one(model_ids, caller)

    def _of_caller(self, model_ids: Sequence[str], caller: Identity) -> list[Model]:
        if not 0 < len(model_ids) <= MOST_ACTIVATED:
            raise ShareError(f"activation: 1 to {MOST_ACTIVATED} models at once")
        found = self._registry.rows(model_ids)
        rows = [found[each] for each in model_ids if each in found]
        if len(rows) < len(model_ids) or not all(self._may_see(row, caller) for row in rows):
            raise UnknownModel("no such models of this caller")
        owners = {row.owner for row in rows}
        if len(owners) < len(rows) or len({row.cohort for row in rows}) > 1:
            raise ShareError("activation: models of one cohort, and one of each owner, at once")
        return rows

    def _one_by_one(self, model_ids: Sequence[str], caller: Identity) -> list[Concluded]:
        until, done = Deadline.after(_ONE_BY_ONE_S), list[Concluded]()
        for model_id in model_ids:
            try:
                self.activate(model_id, caller)
            except _OF_ONE as error:
                done.append(Concluded(model_id, refusal=error))
            except PrivEdgeError:
                if not done:
                    raise
                break
            else:
                done.append(Concluded(model_id, self.enrolments.told(model_id).replaced))
            if until.remaining() <= 0:
                break
        return done

    def _together(self, peer: Peer, rows: Sequence[Model]) -> list[Concluded]:
        refused = {row.model_id: why for row in rows if (why := self._unfit(row))}
        waiting = [row for row in rows if row.state != State.ACTIVE and row.model_id not in refused]
        charges = self.budgets.activations([row.owner for row in waiting])
        active, replaced = list[Model](), dict[str, str]()
        try:
            for row in waiting:
                if row.owner not in charges:
                    refused[row.model_id] = BudgetSpent("activations: the budget is spent", 0.0)
            waiting = [row for row in waiting if row.owner in charges]
            refused |= self._agree_all(peer, waiting)
            fitting = [row for row in waiting if row.model_id not in refused]
            if fitting:
                before = self._make_active(fitting)
                active, replaced = fitting, _replaced(before, fitting)
        finally:
            for owner in charges.keys() - {row.owner for row in active}:
                charges[owner].give_back()
        if active:
            self._activated_all(before, active)
        return [
            Concluded(row.model_id, replaced.get(row.owner, ""), refused.get(row.model_id))
            for row in rows
        ]

    def _unfit(self, row: Model) -> PrivEdgeError | None:
        """Why a model cannot be activated, as far as party 0 knows by itself."""
        if row.state in (State.RETIRED, State.DELETED):
            return UnknownModel(f"model {row.model_id}: {row.state}; upload it afresh")
        if row.state == State.QUARANTINED:
            return DigestMismatch(f"model {row.model_id}: a share is damaged; upload it afresh")
        return self.refused(row) if row.state == State.REFUSED else None

    def _agree_all(self, peer: Peer, rows: Sequence[Model]) -> dict[str, PrivEdgeError]:
        """Step 3 for many models; which of them party 1 refuses, by id."""
        if not rows:
            return {}
        said, answers = peer.prepare_all([ref_of(row) for row in rows], self._said)
        self._heard(said)
        refused = dict[str, PrivEdgeError]()
        for row, answer in zip(rows, answers, strict=True):
            if isinstance(answer, UnknownModel):
                why = f"model {row.model_id}: upload it to party 1 as well"
                refused[row.model_id] = NotReady(why)
            elif isinstance(answer, ManifestMismatch):
                try:
                    self._reject(row)
                except ManifestMismatch as error:
                    refused[row.model_id] = error
            elif answer is not None:
                refused[row.model_id] = answer
        return refused

    def _activated_all(self, before: Snapshot, rows: Sequence[Model]) -> None:
        """Step 5 for many models."""
        cohort = rows[0].cohort
        log.info("%d models: active", len(rows))
        self.audit.record_all("activation", map(about, rows))
        self._notify()
        self._follow_or_later(cohort, lambda: self._send_added_all(before, rows))

    def _send_added_all(self, before: Snapshot, rows: Sequence[Model]) -> None:
        cohort, refs = rows[0].cohort, [ref_of(row) for row in rows]
        try:
            self._heard(self._leads().add_all_active(cohort, before.id, refs, self._said))
        except ManifestMismatch:
            self._send_active(cohort)


class FollowingMany(Following):
    """Party 1's side."""

    def prepare_all(self, refs: Sequence[ModelRef]) -> list[PrivEdgeError | None]:
        """Party 1: step 3 for many models of a cohort whose models are not checked; why each is
        refused, or None. Raises DiskFull, Unreachable.
        """
        found = self._registry.rows([ref.model_id for ref in refs])
        new = {
            row.owner: model_id for model_id, row in found.items() if row.state == State.UPLOADED
        }
        # Charged before the rows are locked: a slow disk must not keep queries from their models.
        charges = self.budgets.activations(list(new))
        prepared = list[str]()
        try:
            with self._rows:
                answers = [self._refusal(ref, charges.keys()) for ref in refs]
                prepared = [
                    ref.model_id for ref, why in zip(refs, answers, strict=True) if why is None
                ]
                uploaded = [
                    each for each in prepared if each in found and found[each].owner in charges
                ]
                if uploaded:
                    self._registry.prepare_all(uploaded)
        finally:
            for owner, charge in charges.items():
                if new[owner] not in prepared:
                    charge.give_back()
        return answers

    def _refusal(self, ref: ModelRef, charged: Iterable[str]) -> PrivEdgeError | None:
        try:
            row = self._joining(ref)
        except (UnknownModel, ManifestMismatch) as error:
            return error
        if row.state == State.REFUSED:
            return self.refused(row)
        if row.state not in IN_USE and is_checked(find(self.cohorts, row.cohort)):
            return NotReady(f"model {ref.model_id}: it was not checked")
        if row.state == State.UPLOADED and row.owner not in charged:
            return BudgetSpent("activations: the budget is spent", 0.0)
        return None

    def add_all(self, cohort: str, since: str, refs: Sequence[ModelRef]) -> None:
        """Party 1: as `add`, for many models."""
        with self._rows:
            if self.snapshot(cohort).id != since:
                raise ManifestMismatch(f"cohort {cohort}: party 0 had other models before")
            found = self._registry.rows([ref.model_id for ref in refs])
            seen = self._seen(cohort)
            rows = [self._held(found.get(ref.model_id), cohort, ref, seen) for ref in refs]
            fitting = [
                row
                for row, ref in zip(rows, refs, strict=True)
                if row is not None and row.version == ref.version
            ]
            if len(fitting) < len(refs):
                raise ManifestMismatch(f"cohort {cohort}: this party lacks some of the models")
            if len({row.owner for row in fitting}) < len(fitting):
                raise ManifestMismatch(f"cohort {cohort}: an owner is listed twice")
            self._make_active(fitting)
            self._record_unchecked(cohort, [row.model_id for row in fitting])
            self.audit.record_all("activation", map(about, fitting))
        self._notify()


def _replaced(before: Snapshot, rows: Sequence[Model]) -> dict[str, str]:
    """The ids of the models that these have put out of use, by owner."""
    owners = {row.owner for row in rows}
    return {each.owner: each.model_id for each in before.models if each.owner in owners}
