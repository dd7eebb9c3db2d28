"""The engine of a worker, unless its operators choose another one."""

from parties.mpc.crypten_backend.engine import ProgramEngine
from parties.mpc.fixed_product import MaskedWeights
from parties.mpc.fused.protocols import Fused
from parties.mpc.session import Session


class FusedEngine(ProgramEngine):
    """CrypTen's operations, carried out by this project's protocols."""

    def __init__(self, session: Session, masked: MaskedWeights, *, exact: bool = False) -> None:
        """`exact`: truncation is the floor, as in the clear; else the floor or one unit more."""
        super().__init__(Fused(session, masked, exact=exact))
