"""Either party is killed (SIGKILL) at each step of making: the next making is right and shares no
randomness with the one that was lost.
"""

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection

import numpy as np
import pytest
import torch

from privedge.sharing.ring import Words
from tests.unit.mpc.pair import as_tensor
from tests.unit.mpc.twoparty.mortal import EXCHANGES, WEIGHT, Instant, Life, lives

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.unit.mpc.twoparty.mortal"])
_PATIENCE_S = 120
_INSTANTS = [Instant(at, after) for at in range(1, EXCHANGES + 1) for after in (False, True)]
# Of a join, a weight and a bundle; all others are slow together.
_USUAL = {Instant(1, True), Instant(8, False), Instant(EXCHANGES, True)}


def _started(
    index: int, share: Words, pipes: list[Connection], death: Instant | None
) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    told, tells = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=lives, args=(index, share, pipes, death, tells))
    process.start()
    # Only that process has its ends now, so that its death closes them.
    for each in (*pipes, tells):
        each.close()
    return process, told


def _next(told: Connection) -> Life:
    assert told.poll(_PATIENCE_S)
    life: Life = told.recv()
    return life


def _share() -> Words:
    """Not a tensor: torch would lend the other process its memory."""
    size = 8 * int(np.prod(WEIGHT.weight))
    return np.frombuffer(os.urandom(size), np.uint64).reshape(WEIGHT.weight).copy()


def _assert_right(shares: list[Words], ends: list[Life]) -> None:
    (mask0, product0), (mask1, product1) = (end.product for end in ends)  # type: ignore[misc]
    whole, weight = as_tensor(mask0 + mask1), as_tensor(shares[0] + shares[1])
    assert torch.equal(as_tensor(product0 + product1), WEIGHT.apply(whole, weight))


@pytest.mark.parametrize(
    "death",
    [each if each in _USUAL else pytest.param(each, marks=pytest.mark.slow) for each in _INSTANTS],
    ids=lambda at: f"{'after' if at.after else 'before'} {at.exchange}",
)
@pytest.mark.parametrize("dies", [0, 1])
def test_no_randomness_is_used_twice_whenever_a_party_is_killed(dies: int, death: Instant) -> None:
    shares, lives_on = [_share(), _share()], 1 - dies
    first, second = _PROCESSES.Pipe(), _PROCESSES.Pipe()
    survivor, told = _started(lives_on, shares[lives_on], [first[0], second[0]], None)
    killed, _ = _started(dies, shares[dies], [first[1]], death)
    killed.join(_PATIENCE_S)
    assert killed.exitcode == -signal.SIGKILL
    lost = _next(told)
    assert lost.exchanges == min(death.exchange + death.after, EXCHANGES)
    # A bundle is left only with one party, which never finds its name at the other.
    assert (lost.product is not None) == (death == Instant(EXCHANGES, True))
    # The party that died is started again, and knows nothing.
    again, tells = _started(dies, shares[dies], [second[1]], None)
    ends = [Life(None, 0, [], [])] * 2
    ends[dies], ends[lives_on] = _next(tells), _next(told)
    for process in (again, survivor):
        process.join(_PATIENCE_S)
    assert [end.exchanges for end in ends] == [EXCHANGES] * 2
    _assert_right(shares, ends)
    assert not {*lost.sent, *lost.drawn} & {*ends[lives_on].sent, *ends[lives_on].drawn}
