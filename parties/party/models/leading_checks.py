"""Party 0's side of the checks that a new model goes through before both parties agree to it."""

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext, suppress

from parties.party.edge.peer import Peer, PlacedCheck
from parties.party.models.active_models import ActiveModels
from parties.party.models.cohorts import ModelRef, SnapshotModel, find
from parties.party.models.enrolment import Activated, Outcome, enough_others, opened
from parties.party.models.model_checks import Shown, coin_of, commitment_to, new_part
from parties.party.models.standing import Said
from parties.party.models.tables import Model
from privedge.errors import (
    AlreadyEnrolled,
    ManifestMismatch,
    ModelRefused,
    NotAllowed,
    NotReady,
    Refused,
    SnapshotChanged,
    UnknownModel,
)
from privedge.sharing.question import new_query_id

log = logging.getLogger(__name__)


class LeadingChecks(ActiveModels):
    """What party 0 finds out of a new model together with party 1."""

    def _leads(self) -> Peer:
        if self._peer is None:
            raise NotAllowed("only party 0 activates models")
        return self._peer

    def _agree(self, peer: Peer, row: Model) -> Activated | Refused:
        """Step 3 as party 0 sees it, with the checks that the cohort has. Returns what its owner is
        told, or is refused with if both parties refuse the model.
        """
        try:
            mine = self._check_model(peer, row)
            if mine is None:
                return self.refuse_checked(row)
            checked = self._check(peer, row)
            if checked is None:
                self._heard(peer.prepare(ref_of(row), self._said, Shown(check=mine)))
                return Activated()
            return self._settled(peer, row, checked, mine)
        except UnknownModel:
            raise NotReady(f"model {row.model_id}: upload it to party 1 as well") from None
        except ManifestMismatch:
            self._reject(row)

    def _check_model(self, peer: Peer, row: Model) -> bytes | None:
        """Party 0's share of the bit, to be shown to party 1; empty if the cohort has no check, and
        None if both parties refuse the model.
        """
        check = find(self.cohorts, row.cohort).model_check
        if check is None:
            return b""
        self.budgets.require_refusals_left(self._answers_for(row))
        query_id = new_query_id()
        part0, coin = self._drawn(peer, row) if check.probes else (b"", b"")
        theirs = peer.check_model(ref_of(row), self._said, query_id, part0)
        mine = self._both_halves(theirs, row, lambda: self._ask_alone(row, query_id, coin, theirs))
        found = opened(mine, *theirs.share()) is Outcome.KNOWN
        if not found:
            return mine
        # Party 1 opens the same bit, and refuses too.
        with suppress(ModelRefused):
            self._heard(peer.prepare(ref_of(row), self._said, Shown(check=mine)))
        return None

    def _drawn(self, peer: Peer, row: Model) -> tuple[bytes, bytes]:
        """Party 0's part of the coin that draws the probes, and the coin."""
        part0 = new_part()
        part1 = peer.draw_probes(ref_of(row), self._said, commitment_to(part0))
        return part0, coin_of(row.model_id, part0, part1)

    def _both_halves(self, theirs: PlacedCheck, row: Model, ask: Callable[[], bytes]) -> bytes:
        try:
            return ask()
        except Exception as error:
            theirs.raise_refusal()  # which explains more
            if isinstance(error, ManifestMismatch):  # of the query: the model is none the worse
                raise NotReady(f"model {row.model_id}: it could not be checked") from None
            raise

    def _check(self, peer: Peer, row: Model) -> Sequence[bytes] | None:
        """The shares of the bit that party 0 has: its own, and party 1's if the operators are told;
        none if there are too few other owners. None if the cohort has no check.
        """
        if find(self.cohorts, row.cohort).enrolment_check == "off":
            return None
        if self.behind.is_set():  # or party 1 might count other owners
            self._send_active(row.cohort)
        snapshot = self.snapshot(row.cohort)
        if not enough_others(snapshot, row.owner):
            return ()
        try:
            return self._shares(peer, row, snapshot.id)
        except SnapshotChanged:  # party 1 was behind all the same
            self._send_active(row.cohort)
            return self._shares(peer, row, snapshot.id)

    def _shares(self, peer: Peer, row: Model, snapshot_id: str) -> Sequence[bytes]:
        query_id = new_query_id()
        theirs = peer.check(ref_of(row), self._said, snapshot_id, query_id)
        mine = self._both_halves(
            theirs, row, lambda: self._ask_others(row, snapshot_id, query_id, theirs)
        )
        return (mine, *theirs.share())

    def _settled(
        self, peer: Peer, row: Model, shares: Sequence[bytes], check: bytes
    ) -> Activated | Refused:
        """After a check, or none for want of other owners: party 1 agrees to the model, and each
        party says to whom it may what came of it. check: party 0's share of the other check's bit.
        """
        cohort = find(self.cohorts, row.cohort)
        for_owner = cohort.enrolment_check == "owner"
        outcome = Outcome.UNCHECKED
        if shares:
            outcome = Outcome.OWNERS if for_owner else opened(*shares)
        told = b"" if for_owner or not shares else shares[0]
        refused = outcome is Outcome.KNOWN and cohort.enrolment_on_match == "refuse"
        # Party 1 opens the same bit, and refuses too.
        with suppress(AlreadyEnrolled) if refused else nullcontext():
            self._heard(peer.prepare(ref_of(row), self._said, Shown(told, check)))
        self._record_enrolment(row, outcome)
        if refused:
            return self._refuse(row)
        if not for_owner:
            return Activated()
        return Activated(checked=bool(shares), share=b"".join(shares))

    def _heard(self, said: Said | None) -> None:
        """Party 1's state, as it says once it has followed; the next hello judges it."""
        for line in self.standing.hear(said, lasting=False):
            log.error("party 1: %s", line)

    def _send_active(
        self, cohort: str, *, without: str = "", deleted: Collection[str] = ()
    ) -> frozenset[str]:
        """Returns the ids of what party 1's operator wants to be deleted."""
        active, left_out = (
            [ref_of(each) for each in models if each.model_id != without]
            for models in (self.snapshot(cohort).models, self._registry.quarantined(cohort))
        )
        said, unwanted = self._leads().set_active(cohort, active, left_out, self._said, deleted)
        self._heard(said)
        return unwanted


def ref_of(model: Model | SnapshotModel) -> ModelRef:
    """What party 1 is told of a model."""
    return ModelRef(model.model_id, model.manifest_digest, model.version)
