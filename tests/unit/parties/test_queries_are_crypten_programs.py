"""A worker's default query is a CrypTen program: a trace shows what calls which protocol.

Real are the computation of both workers, sessions and tuples; a queue stands for the network.
"""

import os
import sys
import threading
from collections import defaultdict
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from parties.mpc.crypten_backend.install import install
from parties.mpc.crypten_backend.load import ArithmeticSharedTensor, MPCTensor
from parties.mpc.dealing import SessionId
from parties.mpc.fused.protocols import Fused
from parties.mpc.predict import predict
from parties.mpc.release import ReleaseKey, new_nonce
from parties.mpc.session import Session
from parties.worker.cancellation import Cancellation
from parties.worker.computation import Computation
from parties.worker.score_tally import ScoreTally
from parties.worker.sessions import Opened
from parties.worker.snapshot_cache import Snapshot
from parties.worker.task import Kind, Method, Task
from privedge.ran.presets import preset
from privedge.rpc.deadline import Deadline
from privedge.sharing.split import split
from privedge_lab.reference import run as reference
from privedge_lab.reference.clear import ClearEngine
from tests.unit.mpc.models import batch, cohort
from tests.unit.mpc.pair import as_tensor

# More than a group, so that an answer takes all steps of the decision.
OWNERS = 17
# What a trace of each preset shows: a protocol, and the operation of CrypTen's that asks for it.
# `None` are the steps that CrypTen has no operation for (crypten_backend/engine.py).
SUBSPACE = {
    "widened": {None},
    "products": {None, "ArithmeticSharedTensor.matmul"},
    "square": {"ArithmeticSharedTensor.square"},
    "truncated_square": {"ArithmeticSharedTensor.square"},
    "negative": {"MPCTensor._ltz"},
    "chosen": {None},
}
LAYERS = {
    "products": {None, "ArithmeticSharedTensor.matmul"},
    "relu_and_value": {"MPCTensor.relu_and_value"},
    "truncated_square": {"ArithmeticSharedTensor.square"},
    "truncate": {"ArithmeticSharedTensor.share"},
    "negative": {"MPCTensor._ltz"},
    "chosen": {None},
}
# Every method that CrypTen's operations compute with.
PROTOCOLS = {
    getattr(Fused, name).__code__: name for name in (*LAYERS, "product", "square", "widened")
}


def names_of_operations() -> dict[Any, str]:
    """The code of each operation that stands in a class of CrypTen's, and the operation's name."""
    install()
    found: dict[Any, str] = {}
    for kind in (ArithmeticSharedTensor, MPCTensor):
        for name, made in vars(kind).items():
            function = made.fget if isinstance(made, property) else getattr(made, "__func__", made)
            if hasattr(function, "__code__"):
                found.setdefault(function.__code__, f"{kind.__name__}.{name}")
    return found


class Trace:
    """Which operations of CrypTen's asked each protocol, on the thread that it is entered in: of
    some that call each other, the first.
    """

    def __init__(self) -> None:
        self.asked: dict[str, set[str | None]] = defaultdict(set)
        self._operations = names_of_operations()

    def __enter__(self) -> "Trace":
        sys.setprofile(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _called(self, frame: FrameType, event: str, _: object) -> None:
        protocol = PROTOCOLS.get(frame.f_code)
        if event != "call" or protocol is None:
            return
        operation, caller = None, frame.f_back
        while caller is not None:
            if caller.f_code in PROTOCOLS:
                return  # one protocol's step in another
            operation = self._operations.get(caller.f_code, operation)
            caller = caller.f_back
        self.asked[protocol].add(operation)


class OneRun:
    """A worker's Sessions, for one run over a queue."""

    def __init__(self, session: Session, masked: Any) -> None:
        self._opened = Opened(session, masked, None, None, models=())

    def both_end(self, _: SessionId) -> Any:
        return nullcontext()

    @contextmanager
    def open(self, *_: object) -> Any:
        yield self._opened


class Loaded:
    """A worker's Weights, which has one cohort's."""

    def __init__(self, stacked: dict[str, torch.Tensor]) -> None:
        self._stacked = stacked

    def load(self, *_: object, **__: object) -> dict[str, torch.Tensor]:
        return self._stacked


def asked(name: str, method: Method) -> tuple[Trace, torch.Tensor, torch.Tensor]:
    """A trace of party 0's worker, the answer, and that of the clear engine."""
    spec = preset(name, height=32, width=32, channels=1)
    weights, image = cohort(spec, OWNERS), batch(spec, 1)
    snapshot = Snapshot("snapshot", "c", spec, 1.0, 0.0, ())
    task = Task.of_kind(Kind("snapshot", tuple(image.shape)), snapshot, method)
    masked, peers, nonces = reference.fresh_masks(), reference.QueueLink.pair(), (new_nonce(),) * 2
    supplies, run = reference.supply(masked), SessionId(os.urandom(16))
    halves = {name: split(words) for name, words in weights.items()}
    asked_about, shares, trace = split(image), [None, None], Trace()

    def party(at: int) -> None:
        session = Session(at, peers[at], supplies[at], ReleaseKey(nonces, bytes(16)))
        stacked = {name: as_tensor(pair[at]) for name, pair in halves.items()}
        worker = Computation(
            OneRun(session, masked[at]), Loaded(stacked), ScoreTally(Path("/nowhere"))
        )
        with nullcontext() if at else trace:
            shares[at] = worker.run(
                run, task, as_tensor(asked_about[at]), Deadline(60), Cancellation()
            ).words

    other = threading.Thread(target=party, args=(1,))
    other.start()
    party(0)
    other.join()
    parameters = {name: as_tensor(words) for name, words in weights.items()}
    expected = predict(ClearEngine(), spec, parameters, as_tensor(image), task.rule)
    return trace, shares[0] + shares[1], expected


@pytest.mark.parametrize(
    ("name", "expected"), [("subspace32", SUBSPACE), ("ran32", LAYERS), ("conv32", LAYERS)]
)
def test_a_default_query_asks_our_protocols_through_cryptens_operations(name, expected):
    trace, answer, clear = asked(name, Method("fused", "one-unit"))
    assert trace.asked == expected
    assert torch.equal(answer, clear)
