"""Party 1's side of what the parties do with models (service.py): it follows party 0."""

import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from typing import TypeVar

from parties.party.models.active_models import ActiveModels
from parties.party.models.cohorts import ModelRef, Snapshot, SnapshotModel, find
from parties.party.models.enrolment import Outcome, enough_others, opened
from parties.party.models.model_checks import Seen, Shown
from parties.party.models.parts import Parts, SaidParts
from parties.party.models.reading import Kept
from parties.party.models.tables import IN_USE, Model, State
from parties.party.models.uploads import about
from privedge.errors import ManifestMismatch, NotReady, UnknownModel
from privedge.identity.roles import OWNER_NAME, Identity, Role
from privedge.rpc.server import MayLeave

log = logging.getLogger(__name__)

_NOTHING = Shown()
RowT = TypeVar("RowT", Model, Kept)


class Following(ActiveModels):
    """What party 0 asks of party 1."""

    def check(self, ref: ModelRef, snapshot_id: str, query_id: str, caller: MayLeave) -> bytes:
        """Party 1: the check at enrolment, once party 0 has ordered it. Every check is charged, as
        an activation. Returns party 1's share of the bit, or nothing if only the owner is told.

        Raises as `prepare`, and what a query does.
        """
        row = self._joining(ref)
        cohort = find(self.cohorts, row.cohort)
        if cohort.enrolment_check == "off" or row.state not in (State.UPLOADED, State.PREPARED):
            raise NotReady(f"model {ref.model_id}: there is nothing to check")
        # A model that was checked otherwise before is charged already.
        charged = self.checks.share(ref.model_id) is not None
        with nullcontext() if charged else self.budgets.activation(row.owner):
            try:
                share = self._ask_others(row, snapshot_id, query_id, caller)
            except ManifestMismatch:  # of the query, while party 0 would retire the model for it
                raise NotReady(f"model {ref.model_id}: it could not be checked") from None
        self.enrolments.keep(ref.model_id, share)
        return share if cohort.enrolment_check == "operator" else b""

    def draw_probes(self, ref: ModelRef, commitment: bytes) -> bytes:
        """Party 1: its part of the coin that draws the probes for a model that it holds.

        Raises as `prepare`; NotReady if it is not to be checked; ShareError.
        """
        return self.checks.draw(self._to_check(ref).model_id, commitment)

    def check_model(self, ref: ModelRef, query_id: str, part0: bytes, caller: MayLeave) -> bytes:
        """Party 1: the check of a new model, once party 0 has ordered it. Charged as an activation.
        Returns party 1's share of the bit. part0: party 0's part of the coin; empty for no probes.

        Raises as `draw_probes`, and what a query does.
        """
        row = self._to_check(ref)
        check = find(self.cohorts, row.cohort).model_check
        coin = self.checks.coin(row.model_id, part0) if check and check.probes else b""
        self.budgets.require_refusals_left(self._answers_for(row))
        with self.budgets.activation(row.owner):
            try:
                share = self._ask_alone(row, query_id, coin, caller)
            except ManifestMismatch:  # of the query, while party 0 would retire the model for it
                raise NotReady(f"model {ref.model_id}: it could not be checked") from None
        self.checks.keep(ref.model_id, share)
        return share

    def prepare(self, ref: ModelRef, shown: Shown = _NOTHING) -> None:
        """Party 1: step 3. Raises UnknownModel; BudgetSpent; NotReady if the model was not checked;
        after retiring the model ManifestMismatch, AlreadyEnrolled; and ModelRefused after noting
        that, or if this operator has not released it.
        """
        row = self._registry.get(ref.model_id)
        checked = self.enrolments.share(ref.model_id)
        any_check = checked or self.checks.share(ref.model_id)
        new = row is not None and row.state == State.UPLOADED and any_check is None
        # Charged before the rows are locked: a slow disk must not keep queries from their models.
        with self.budgets.activation(row.owner) if row and new else nullcontext(), self._rows:
            row = self._joining(ref)
            if row.state == State.REFUSED:
                self._require_released(row, shown)
                seen = str(Seen.RELEASED)
            else:
                seen = self._conclude_check(row, shown.check)
                self._conclude(row, checked, shown.enrolment)
            if row.state in (State.UPLOADED, State.REFUSED) or seen:
                self._registry.prepare(ref.model_id, seen)

    def add(self, cohort: str, since: str, ref: ModelRef) -> None:
        """Party 1: step 5 when one model was added to the snapshot `since`. Raises UnknownCohort,
        or ManifestMismatch and changes nothing: among others, if it saw no check of the model.
        """
        with self._rows:
            if self.snapshot(cohort).id != since:
                raise ManifestMismatch(f"cohort {cohort}: party 0 had other models before")
            row = self._held(self._registry.get(ref.model_id), cohort, ref, self._seen(cohort))
            if row is None:
                raise ManifestMismatch(f"model {ref.model_id}: this party lacks it")
            if row.version != ref.version:
                raise ManifestMismatch(f"model {ref.model_id}: the shares do not fit")
            self._make_active([row])
            self._record_unchecked(cohort, [row.model_id])
            self.audit.record("activation", **about(row))
        self._notify()

    def follow(
        self,
        cohort: str,
        refs: Sequence[ModelRef],
        quarantined: Sequence[ModelRef] = (),
        deleted: Collection[str] = (),
    ) -> None:
        """Party 1: step 5. `deleted`: ids of suspended models that party 0 has deleted, so that
        they are deleted here. Raises UnknownCohort, or ManifestMismatch and changes nothing.

        If it lacks a listed model, or saw no check of it, party 0 is told which (quarantine.py),
        and will leave it out.
        """
        find(self.cohorts, cohort)
        before = self.snapshot(cohort).models
        with self._changing():
            kept = self._registry.kept(cohort)
            wanted = self._wanted(cohort, kept, refs, quarantined)
            listed = [ref for ref in (*refs, *quarantined) if ref.model_id in wanted]
            apart = self.refreshes.catch_up(listed, kept)
            refreshed = {
                ref.model_id: ref.version
                for ref in listed
                if ref.model_id not in apart and ref.version != kept[ref.model_id].version
            }
            wanted |= dict.fromkeys(apart, State.QUARANTINED)
            retired = self._registry.follow(cohort, wanted)
            self._record_unchecked(cohort, wanted)
            for model_id in retired:
                log.warning("model %s: no longer on party 0's list, retired", model_id)
            self._set_aside(retired)
        for model_id, state in wanted.items():
            if state == State.ACTIVE and kept[model_id].state == State.PREPARED:
                self.budgets.count_model(cohort)
        self._record_refresh(cohort, refreshed)
        self._record_changes(before, self.snapshot(cohort))
        self._notify()
        self.quarantine.set_apart(kept.keys() - apart, apart)
        # Whatever became of an earlier list: party 0 goes on naming what is still unwanted here.
        for model_id in self.quarantine.unwanted.intersection(deleted) - wanted.keys():
            held = self._registry.get(model_id)
            if held is not None and held.cohort == cohort:
                self._delete_unwanted(held, by="party 0 and this operator")

    def differing(self, cohort: str, digests: Sequence[bytes]) -> tuple[int, ...]:
        """Party 1: numbers of the parts of party 0's list that this party's is not equal to. Raises
        UnknownCohort.
        """
        find(self.cohorts, cohort)
        return Parts(self._registry.in_use(cohort), len(digests)).differing(digests)

    def follow_parts(self, cohort: str, said: SaidParts, deleted: Collection[str] = ()) -> None:
        """Party 1: follow party 0's list, of which it has sent some parts, and has the others as
        this party has them. Raises as `follow` does; also ManifestMismatch if it has not.
        """
        find(self.cohorts, cohort)
        with self._rows:
            listed = list(said.listed)
            if len(said.sent) < said.count:
                mine = Parts(self._registry.in_use(cohort), said.count)
                listed += mine.but(said.sent)
            if Parts(listed, said.count).root != said.root:
                raise ManifestMismatch(f"cohort {cohort}: party 0 had another list before")
            refs = [each.ref for each in listed if not each.quarantined]
            left_out = [each.ref for each in listed if each.quarantined]
            self.follow(cohort, refs, left_out, deleted)

    def prepare_refresh(self, ref: ModelRef, seed: bytes) -> None:
        """Party 1: write the refreshed share of an active model beside its present one; again is
        fine. Raises ManifestMismatch for another model or version than is active here, ShareError,
        DiskFull, and DigestMismatch if the present share is damaged.
        """
        self.refreshes.answer(ref, seed)

    def _to_check(self, ref: ModelRef) -> Model:
        row = self._joining(ref)
        unchecked = find(self.cohorts, row.cohort).model_check is None
        if unchecked or row.state not in (State.UPLOADED, State.PREPARED):
            raise NotReady(f"model {ref.model_id}: there is nothing to check")
        return row

    def _joining(self, ref: ModelRef) -> Model:
        """The upload that party 0 means. Raises UnknownModel, or ManifestMismatch after retiring
        it.
        """
        row = self._registry.get(ref.model_id)
        gone = (State.RETIRED, State.DELETED)
        if row is None or row.state in gone or not self._may_join(row):
            raise UnknownModel(f"model {ref.model_id}: not uploaded to this party")
        if row.manifest_digest != ref.manifest_digest:
            self._reject(row)
        return row

    def _require_released(self, row: Model, shown: Shown) -> None:
        """Raises ModelRefused unless both operators have released a refused model."""
        if not (shown.released and row.model_id in self._registry.released()):
            raise self.refused(row)

    def _conclude_check(self, row: Model, theirs: bytes) -> str:
        """What came of the check of a new model, if the cohort has one and this is no repetition:
        what this party saw, for its registry, or nothing.

        Raises NotReady if there was none; ModelRefused.
        """
        if find(self.cohorts, row.cohort).model_check is None or row.state in IN_USE:
            return ""
        if row.state != State.UPLOADED and row.model_id in self._registry.checks_seen():
            return ""
        mine = self.checks.share(row.model_id)
        if mine is None or not theirs:
            raise NotReady(f"model {row.model_id}: it was not checked")
        if opened(mine, theirs) is Outcome.KNOWN:
            raise self.refuse_checked(row)
        return str(Seen.PASSED)

    def _seen(self, cohort: str) -> frozenset[str] | None:
        """Ids of the models that this party lets become active; None in a cohort without a check.
        Party 0's word that a model was checked is not among what counts.
        """
        unchecked = find(self.cohorts, cohort).model_check is None
        return None if unchecked else self._registry.checks_seen()

    def _record_unchecked(self, cohort: str, model_ids: Collection[str]) -> None:
        """Models that are active without a check stay so if the cohort has one later."""
        if self._seen(cohort) is None:
            self._registry.saw(self._registry.not_seen(model_ids), Seen.BEFORE)

    def _conclude(self, row: Model, mine: bytes | None, theirs: bytes) -> None:
        """What came of the check at enrolment, if the cohort has one and this is no repetition.

        Raises NotReady if there was none though there are enough other owners; AlreadyEnrolled.
        """
        cohort = find(self.cohorts, row.cohort)
        if cohort.enrolment_check == "off" or row.state in IN_USE:
            return
        if mine is None:
            if enough_others(self.snapshot(row.cohort), row.owner):
                raise NotReady(f"model {row.model_id}: it was not checked at enrolment")
            outcome = Outcome.UNCHECKED
        else:
            for_owner = cohort.enrolment_check == "owner"
            outcome = Outcome.OWNERS if for_owner else opened(mine, theirs)
        self._record_enrolment(row, outcome)
        if outcome is Outcome.KNOWN and cohort.enrolment_on_match == "refuse":
            raise self._refuse(row)

    def _may_join(self, row: Model | Kept) -> bool:
        cohort = self.cohorts.get(row.cohort)
        if cohort is None or not OWNER_NAME.fullmatch(row.owner):  # an upload to an older release
            return False
        return cohort.admits(Identity(Role.OWNER, row.owner))

    def _wanted(
        self,
        cohort: str,
        kept: Mapping[str, Kept],
        refs: Sequence[ModelRef],
        quarantined: Sequence[ModelRef],
    ) -> dict[str, State]:
        """The states that party 0's list asks for, by id. Raises ManifestMismatch."""
        wanted: dict[str, State] = {}
        lacking: set[str] = set()
        owners: set[str] = set()
        seen = self._seen(cohort)
        listed = [(ref, State.QUARANTINED) for ref in quarantined]
        for ref, state in [*listed, *((ref, State.ACTIVE) for ref in refs)]:
            row = self._held(kept.get(ref.model_id), cohort, ref, seen)
            if row is None:
                lacking.add(ref.model_id)
                continue
            wanted[ref.model_id] = state
            if state == State.ACTIVE:
                owners.add(row.owner)
        self.quarantine.set_lacking(cohort, lacking)
        if missing := lacking.intersection(ref.model_id for ref in refs):
            raise ManifestMismatch(f"cohort {cohort}: this party lacks {len(missing)} of the list")
        if len(owners) != len(refs):
            raise ManifestMismatch(f"cohort {cohort}: an owner is listed twice")
        return wanted

    def _held(
        self, row: RowT | None, cohort: str, ref: ModelRef, seen: frozenset[str] | None
    ) -> RowT | None:
        """Party 1's row of a model that party 0 lists; its share is there, taken back from the
        trash if need be. None if this party lacks the model, it saw no check of it pass, or it is
        an upload whose owner may not join. `seen`: as `_seen` says.
        """
        if (
            row is None
            or row.state == State.DELETED
            or (row.cohort, row.manifest_digest) != (cohort, ref.manifest_digest)
            or row.state == State.REFUSED
            or (row.state == State.UPLOADED and not self._may_join(row))
        ):
            return None
        if seen is not None and row.model_id not in seen:
            log.error(
                "model %s of cohort %s: party 0 lists it, and this party saw no check of it pass; "
                "it is left out: its owner must upload it afresh", row.model_id, cohort
            )  # fmt: skip
            return None
        if row.state == State.RETIRED and not self._files.revive(ref.model_id):
            return None
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
