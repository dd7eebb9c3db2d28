"""privedge_lab.reference.run for tests of the protocol.

Runs are always recorded, use either engine, and pass requests to the dealer through the wire codec.
"""

from typing import Any

from parties.mpc.bundles import Bundle, Supply
from parties.mpc.crypten_backend.engine import CryptenEngine, ProgramEngine
from parties.mpc.dealing import Dealer, DealerLink, SessionId
from parties.mpc.fixed_product import MaskedWeights
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.session import Session
from parties.mpc.tuples import TupleKind
from parties.tuple_codec import from_wire, to_wire
from privedge.sharing.ring import Words
from privedge_lab.reference import run as reference
from privedge_lab.reference.recording import NearLink
from privedge_lab.reference.recording import QueueLink as QueueLink
from privedge_lab.reference.recording import Record as View  # noqa: F401 (what a curious party has)
from privedge_lab.reference.run import Masked, Program
from privedge_lab.reference.run import Outcome as Outcome
from privedge_lab.reference.run import as_tensor as as_tensor
from privedge_lab.reference.run import as_words as as_words
from privedge_lab.reference.run import fresh_masks as fresh_masks

TIMEOUT_S = 60
_MAX_ELEMENTS = 1 << 24


class WireLink(NearLink):
    """Requests go as they do on the wire, whose limits every one of them must keep."""

    def request(self, tuples: list[tuple[int, TupleKind]], *, last: bool = False) -> None:
        super().request([(at, from_wire(to_wire(at, kind))) for at, kind in tuples], last=last)


def wire_dealer(
    run: SessionId, seeds: tuple[bytes, bytes], weight_seeds: tuple[bytes, bytes], party: int
) -> DealerLink:
    """A reference.Deal."""
    return WireLink(Dealer(run, seeds, weight_seeds, max_elements=_MAX_ELEMENTS), party)


def run(
    program: Program,
    *secrets: Words,
    plan: list[TupleKind] | None = None,
    engine_type: type[ProgramEngine] = CryptenEngine,
    masked: Masked | None = None,
    bundles: tuple[Supply, Supply] | None = None,
) -> Outcome:
    """Run `program(engine, *shares)` at both parties.

    `masked`: from `fresh_masks`, for several runs on the same weights. `bundles`: from `drawn`,
    instead of a dealer. Raises what party 0, or else party 1, raised.
    """

    def engine(session: Session, mine: MaskedWeights) -> ProgramEngine:
        arguments: Any = (mine,) if issubclass(engine_type, FusedEngine) else ()
        return engine_type(session, *arguments)

    masked = masked or fresh_masks()
    supplies: tuple[Supply, Supply] = bundles or reference.supply(
        masked, wire_dealer, plan, record=True
    )
    return reference.run(
        program, *secrets, masked=masked, bundles=supplies, record=True, engine=engine
    )


def drawn(plan: list[TupleKind], masked: Masked) -> tuple[Bundle, Bundle]:
    """Both halves of a bundle, made under the masks of weights that a run has opened."""
    return reference.draw(plan, masked, wire_dealer)
