"""One program on our backend: two forked processes, on bundles that were drawn before."""

import statistics
import time
from dataclasses import dataclass
from typing import cast

import torch

from parties.mpc.bundles import Bundle
from parties.mpc.compiled import compiler
from parties.mpc.crypten_backend.load import crypten
from parties.mpc.crypten_backend.programs import fix, program
from parties.mpc.dealing import SessionId, Tuples
from parties.mpc.fixed_product import MaskedWeights
from parties.mpc.session import Session
from privedge.errors import Unreachable
from privedge_lab.bench.programs.written import Program
from privedge_lab.reference.forked import at_two_parties

# The first run opens weights, and the second shows the plan.
_COLD = 2


@dataclass(frozen=True)
class Measured:
    """Median seconds, rounds, bytes to the other party, and the largest error."""

    seconds: float
    rounds: int
    bytes_to_peer: int
    max_error: float


def measure(written: Program, times: int, limit_s: float) -> Measured:
    """Time the program `times` times. Raises Unreachable if it fails."""
    compiler.prepare()
    expected = written.clear()

    def half(session: Session, masked: MaskedWeights) -> list[float]:
        torch.set_num_threads(1)
        runs = [_run(written, session, masked, expected) for _ in range(_COLD)]
        tuples = cast(Tuples, session.tuples)
        plan = tuples.used[runs[0][0] :]
        kept = []
        for number in range(times):
            name = SessionId((number + 1).to_bytes(16, "big"))
            bundle = Bundle.drawn(tuples, plan, masked.opened, lambda: None, name)
            fresh = Session(session.party, session._link, bundle, session.key)
            kept.append(_run(written, fresh, masked, expected)[1:])
        seconds = statistics.median(row[0] for row in kept)
        return [seconds, kept[-1][1], kept[-1][2], max(row[3] for row in kept)]

    first, second = at_two_parties(half, limit_s=limit_s)
    if first.value is None:
        raise Unreachable(f"{written.name}: {first.error or second.error or 'took too long'}")
    seconds, rounds, sent, error = first.value
    return Measured(seconds, int(rounds), int(sent), error)


def _run(
    written: Program, session: Session, masked: MaskedWeights, expected: torch.Tensor
) -> tuple[int, float, int, int, float]:
    """Tuples drawn by then, seconds, rounds, bytes and error of one run."""
    with program(session, masked), crypten.no_grad():
        run, model = written.make(crypten)
        if model is not None:
            fix(model, written.name)
        crypten.communicator.get().barrier()
        rounds, sent = session.rounds, session.bytes_sent
        since = time.perf_counter()
        # `share` truncates what is late: all of the result is there.
        result = run()
        result.share  # noqa: B018
        seconds = time.perf_counter() - since
        cost = session.rounds - rounds, session.bytes_sent - sent
        drawn = len(session.tuples.used)
        error = (result.get_plain_text() - expected).abs().max().item()
    return drawn, seconds, *cost, error
