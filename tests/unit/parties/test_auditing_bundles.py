"""Both workers, over real gRPC, open some of each lot that a real dealer deals, and refuse the
dealer for good when a word is wrong.
"""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from parties.at_rest.vault import Vault
from parties.config.dealer import DealerConfig
from parties.config.sections import PoolSection
from parties.dealer import DealerServicer
from parties.dealer_trust import NAME, DealerTrust
from parties.mpc.dealing import Dealer, SessionId
from parties.mpc.fixed_product import FixedProduct, MaskedWeights
from parties.mpc.fused.choice import Choice
from parties.mpc.fused.tuples import Comparison
from parties.mpc.tuples import Square
from parties.serving.handshake import Handshake
from parties.wire import dealer_pb2_grpc, mpc_pb2_grpc
from parties.worker.cancellation import Cancellation
from parties.worker.computation import Computation
from parties.worker.meeting import Acceptor, Dialer, Meeting
from parties.worker.mpc_servicer import MpcServicer
from parties.worker.preprocessing.follower import PoolFollower
from parties.worker.preprocessing.leader import PoolLeader, _Orders
from parties.worker.preprocessing.orders import Order, State
from parties.worker.preprocessing.pool import Pool
from parties.worker.preprocessing.prepare import Preparer
from parties.worker.preprocessing.targets import PoolTargets
from parties.worker.scheduler import Scheduler
from parties.worker.score_tally import ScoreTally
from parties.worker.sessions import Plan, Sessions
from parties.worker.snapshot_cache import Snapshot, SnapshotCache
from parties.worker.task import Kind, Method, Task
from parties.worker.weights import Weights
from privedge.errors import WrongRandomness
from privedge.identity.roles import Role
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from privedge.rpc.deadline import Deadline
from privedge.rpc.server import build_server
from tests.unit.mpc.models import SPECS

PATIENCE_S = 20
PAIRING = b"a rehearsal's id"
SPEC = next(spec for spec in SPECS if spec.name == "subspace")
KIND = Kind("snapshot", (1, *SPEC.input_shape))
SNAPSHOT = Snapshot(KIND.snapshot_id, "c", SPEC, 1.0, 0.0, ())
WEIGHT = FixedProduct("dense", "0.basis", (2, 3, 4), (1, 1, 4))
PLAN = [WEIGHT, Comparison((70,), 63), Square((5,)), Choice(3, 0, 2)]
METHOD = Method("fused", "one-unit")


class Worker:
    """All of a worker that takes part in preparing, as after a rehearsal of PLAN."""

    def __init__(self, index: int, state: Path, dealer, meeting: Meeting, pool: PoolSection):
        self.state, self.pool, scheduler = state, Pool(1 << 26), Scheduler()
        self.targets = PoolTargets(pool, METHOD, SnapshotCache(keep=2), self.pool.wake)
        self.targets.snapshots.put(SNAPSHOT)
        self.targets.use([SNAPSHOT.id])
        self.trust = DealerTrust(state)
        self.sessions = Sessions(index, dealer, meeting, self.pool, keep=2, trust=self.trust)
        computation = Computation(self.sessions, Weights(Vault(index), keep=2), ScoreTally(state))
        self.preparer = Preparer(self.sessions, computation, self.pool, scheduler)
        self.scheduler = scheduler
        # Any E is the opening of some weight.
        opened = {WEIGHT.name: torch.arange(24).view(2, 3, 4)}
        masked = MaskedWeights(PAIRING, bytes([index]) * 32, opened)
        self.sessions._masked[KIND.snapshot_id] = masked
        self.sessions._plans[KIND, True] = Plan(PLAN, 1 << 12)


class Both:
    """Both workers and their dealer; `spoil` is done to every correction that it makes."""

    def __init__(self, tls_for, folder: Path, stack: ExitStack, monkeypatch, **shares: float):
        self.spoil = lambda run, counter, words: words
        original = Dealer.correct

        def correct(dealer, party, counter, kind):
            return self.spoil(dealer._run, counter, original(dealer, party, counter, kind))

        monkeypatch.setattr(Dealer, "correct", correct)
        config = DealerConfig(listen="127.0.0.1:0", insecure_loopback=True)
        servicer = DealerServicer(config, Handshake())
        dealer, dealers_port = build_server("127.0.0.1:0", tls=tls_for(Role.DEALER), access=ACCESS)
        dealer_pb2_grpc.add_DealerServicer_to_server(servicer, dealer)
        self.acceptor = Acceptor()
        outside, port = build_server("127.0.0.1:0", tls=tls_for(Role.PARTY1), access=ACCESS)
        roles = Role.PARTY0, Role.PARTY1
        to_dealer = [
            stack.enter_context(
                open_channel(f"127.0.0.1:{dealers_port}", server=Role.DEALER, tls=tls_for(role))
            )
            for role in roles
        ]
        peer = stack.enter_context(
            open_channel(f"127.0.0.1:{port}", server=Role.PARTY1, tls=tls_for(Role.PARTY0))
        )
        stub = mpc_pb2_grpc.MpcStub(peer)
        settings = [
            PoolSection(bundles=4, settle_s=0, opened=shares.get(f"party{index}", 0.6))
            for index in (0, 1)
        ]
        meetings: list[Meeting] = [Dialer(stub), self.acceptor]
        for index in (0, 1):
            (folder / str(index)).mkdir(exist_ok=True)
        self.workers = [
            Worker(index, folder / str(index), to_dealer[index], meetings[index], settings[index])
            for index in (0, 1)
        ]
        first, second = self.workers
        self.follower = PoolFollower(second.preparer, second.pool, second.scheduler, second.targets)
        mpc_pb2_grpc.add_MpcServicer_to_server(MpcServicer(self.acceptor, self.follower), outside)
        for server in (dealer, outside):
            server.start()
            stack.callback(lambda server=server: server.stop(None).wait())
        self.leader = PoolLeader(
            stub, first.preparer, first.pool, first.scheduler, first.targets, settings[0]
        )
        self.orders = stack.enter_context(_Orders(stub, lambda: None))

    def fill(self) -> None:
        """One order of the leader's: a lot, and its audit."""
        self.leader._fill(self.orders, KIND)

    def counts(self) -> list[int]:
        return [worker.pool.count(KIND) for worker in self.workers]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def both(tls_for, tmp_path, stack, monkeypatch) -> Both:
    return Both(tls_for, tmp_path, stack, monkeypatch)


def flipped(run, counter: int, words: torch.Tensor) -> torch.Tensor:
    words[-1] ^= 1 << 20
    return words


def test_what_is_kept_is_in_both_pools_under_the_same_names_and_fits(both):
    both.fill()
    assert both.counts() == [1, 1]
    both.fill()
    assert both.counts() == [4, 4]
    first, second = (worker.pool for worker in both.workers)
    assert set(first.alive()) == set(second.alive())
    for _ in range(4):
        mine = first.take(KIND)
        assert mine is not None
        theirs = second.take_named(KIND, mine.name)
        assert theirs is not None and mine.bundle.run == theirs.bundle.run == SessionId(mine.name)
        halves = [each.bundle.parts[2][1] for each in (mine, theirs)]
        r, s = (
            halves[0].free[0] + halves[1].free[0],
            halves[0].derived[0] + halves[1].derived[0],
        )
        assert torch.equal(s, r * r)
        # The price of what was opened is part of each bundle's.
        assert mine.bytes_from_dealer > 0
    assert not any(worker.trust.fault() for worker in both.workers)


@pytest.mark.parametrize("place", range(len(PLAN)))
def test_w35_a_dealer_that_spoils_a_tuple_of_every_bundle_is_refused_by_both(both, place, caplog):
    """From the next lot on, with all pools empty, and no run begins any more."""
    both.fill()
    assert both.counts() == [1, 1]

    def spoil(run, counter: int, words: torch.Tensor) -> torch.Tensor:
        return flipped(run, counter, words) if counter % len(PLAN) == place else words

    both.spoil = spoil
    both.fill()
    assert both.counts() == [0, 0]
    for worker in both.workers:
        assert worker.trust.fault() == f"the dealer dealt wrong randomness ({NAME})"
        with pytest.raises(WrongRandomness, match="dealer-refused"):
            open_run(worker)
    assert "the dealer dealt wrong randomness" in caplog.text
    # Nobody asks it for more, even though it is honest again.
    both.spoil = lambda run, counter, words: words
    assert both.leader._next([KIND]) is None
    both.fill()
    assert both.counts() == [0, 0]


def open_run(worker: Worker) -> None:
    task = Task.of_kind(KIND, SNAPSHOT, METHOD)
    deadline = Deadline.after(PATIENCE_S)
    with worker.sessions.open(SessionId(os.urandom(16)), task, deadline, Cancellation()):
        pass


def test_a_refusal_outlives_a_restart_until_an_operator_acts(both):
    both.spoil = flipped
    both.fill()
    assert both.counts() == [0, 0]
    for worker in both.workers:
        again = DealerTrust(worker.state)
        assert again.fault()
        found = (worker.state / NAME).read_text()
        # What was found, and neither a seed nor a key.
        assert set(json.loads(found)) == {"found", "session", "what"}
        (worker.state / NAME).unlink()
        assert not again.fault()
    both.spoil = lambda run, counter, words: words
    both.fill()
    assert both.counts() == [1, 1]


def test_party_1_opens_no_fewer_than_its_own_file_says(tls_for, tmp_path, stack, monkeypatch):
    both = Both(tls_for, tmp_path, stack, monkeypatch, party0=0.0)
    both.fill()
    assert both.counts() == [0, 0]
    assert not any(worker.trust.fault() for worker in both.workers)


def test_with_nothing_opened_at_both_bundles_are_used_as_they_come(
    tls_for, tmp_path, stack, monkeypatch
):
    both = Both(tls_for, tmp_path, stack, monkeypatch, party0=0.0, party1=0.0)
    both.spoil = flipped
    both.fill()
    assert both.counts() == [1, 1]


def test_w35_an_audit_of_a_lot_that_is_not_drawn_is_refused(both):
    """Party 1 shows no coin: the dealer could still deal by it."""
    session = os.urandom(16)
    asked = Order(False, session, KIND, PAIRING, audit=bytes(32))
    progress = both.orders.give(asked)
    assert progress.state is State.FAILED and progress.audit == b""
    # Nor of another lot than the one that was drawn last.
    order = Order(False, session, KIND, PAIRING, bundles=1, opened=2)
    assert both.orders.give(order).state is State.STARTED
    drawn = threading.Thread(
        target=both.workers[0].preparer.draw, args=(session, 3, KIND, PAIRING, Cancellation())
    )
    drawn.start()
    assert both.orders.answer().state is State.READY
    drawn.join()
    other = Order(False, os.urandom(16), KIND, PAIRING, audit=bytes(32))
    assert both.orders.give(other).state is State.FAILED
    assert both.counts() == [0, 0]
