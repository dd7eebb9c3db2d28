"""Party 1's worker follows orders over real gRPC, and a peer that dies or is slow blocks nobody."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue

import grpc
import pytest

from parties.at_rest.vault import Vault
from parties.config.sections import PoolSection
from parties.dealer_trust import DealerTrust
from parties.mpc.bundles import Bundle
from parties.mpc.dealing import SessionId
from parties.mpc.fixed_product import MaskedWeights
from parties.wire import mpc_pb2 as pb
from parties.wire import mpc_pb2_grpc
from parties.worker.cancellation import Cancellation
from parties.worker.computation import Computation
from parties.worker.meeting import Acceptor, Agreement, Dialer
from parties.worker.mpc_servicer import MpcServicer
from parties.worker.preprocessing import orders
from parties.worker.preprocessing.backoff import Backoff
from parties.worker.preprocessing.follower import PoolFollower
from parties.worker.preprocessing.orders import Order, Progress
from parties.worker.preprocessing.pool import BundleChoice, Pool, Prepared
from parties.worker.preprocessing.prepare import Preparer
from parties.worker.preprocessing.targets import PoolTargets
from parties.worker.scheduler import Scheduler
from parties.worker.score_tally import ScoreTally
from parties.worker.sessions import Plan, Sessions
from parties.worker.snapshot_cache import ModelFile, Snapshot, SnapshotCache
from parties.worker.task import Kind, Method
from parties.worker.weights import Weights
from privedge.errors import DigestMismatch, LimitExceeded, NotReady, Unreachable
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
NOT_KNOWN = Kind("another", (1, *SPEC.input_shape))
State = pb.Prepared.State


class WatchedAcceptor(Acceptor):
    """Says when a session waits for party 0."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = threading.Event()

    def open(self, run, agreement, deadline, cancellation):
        self.wanted.set()
        return super().open(run, agreement, deadline, cancellation)


class Party1:
    """All of a worker that takes part in preparing. Nobody is at the dealer's address."""

    def __init__(self, tls_for, bundles: int = 4) -> None:
        self.pool, self.scheduler, self.acceptor = Pool(1 << 20), Scheduler(), WatchedAcceptor()
        settings, method = PoolSection(bundles=bundles, settle_s=0), Method("fused", "one-unit")
        self.targets = PoolTargets(settings, method, SnapshotCache(keep=2), self.pool.wake)
        trust = DealerTrust(Path("/nowhere"))
        self.dealer = open_channel("127.0.0.1:1", server=Role.DEALER, tls=tls_for(Role.PARTY1))
        self.sessions = sessions = Sessions(
            1, self.dealer, self.acceptor, self.pool, keep=2, trust=trust
        )
        computation = Computation(sessions, Weights(Vault(1), keep=2), ScoreTally(Path()))
        preparer = Preparer(sessions, computation, self.pool, self.scheduler)
        self.pool_follower = PoolFollower(preparer, self.pool, self.scheduler, self.targets)
        self.servicer = MpcServicer(self.acceptor, self.pool_follower)

    def rehearsed(self, kind: Kind) -> None:
        """As after rehearsals of a kind whose runs use no tuples."""
        self.sessions._masked[kind.snapshot_id] = MaskedWeights.fresh(PAIRING)
        self.sessions._plans[kind, True] = Plan([], 1)

    def use(self, *files: ModelFile) -> None:
        self.targets.snapshots.put(Snapshot(KIND.snapshot_id, "c", SPEC, 1.0, 0.0, files))
        self.targets.use([KIND.snapshot_id])


class Leader:
    """Party 0's end of one Prepare call."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._orders: SimpleQueue[pb.Preparation | None] = SimpleQueue()
        stub = mpc_pb2_grpc.MpcStub(channel)
        self.call = stub.Prepare(iter(self._orders.get, None), timeout=PATIENCE_S)

    def order(
        self,
        what,
        kind: Kind = KIND,
        alive: list[bytes] | None = None,
        session: bytes | None = None,
    ) -> int:
        self._orders.put(
            pb.Preparation(
                kind=what,
                session=session or os.urandom(16),
                snapshot_id=kind.snapshot_id,
                shape=kind.shape,
                alive=alive or [],
            )
        )
        return next(self.call).state

    def close(self) -> None:
        self._orders.put(None)
        self.call.cancel()


@pytest.fixture
def party1(tls_for) -> Iterator[Party1]:
    party = Party1(tls_for)
    yield party
    party.dealer.close()


@pytest.fixture
def channel(party1, tls_for) -> Iterator[grpc.Channel]:
    server, port = build_server("127.0.0.1:0", tls=tls_for(Role.PARTY1), access=ACCESS)
    mpc_pb2_grpc.add_MpcServicer_to_server(party1.servicer, server)
    server.start()
    address = f"127.0.0.1:{port}"
    with open_channel(address, server=Role.PARTY1, tls=tls_for(Role.PARTY0)) as opened:
        yield opened
    server.stop(None).wait()


def a_query_gets_its_turn(scheduler: Scheduler) -> bool:
    """Long before the ten minutes that a rehearsal may take."""

    def query() -> None:
        with scheduler.query():
            pass

    thread = threading.Thread(target=query, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    return not thread.is_alive()


def a_share(name: bytes) -> Prepared:
    return Prepared(name, b"", Bundle(SessionId(name), [], 0.0), 1, 0)


def emptied(pool: Pool) -> bool:
    while pool.alive():
        seen = pool.version
        if pool.alive() and pool.wait_changed(seen, PATIENCE_S) == seen:
            return False
    return True


def test_a_rehearsal_whose_leader_dies_frees_the_turn(party1, channel):
    party1.use()
    with closing(Leader(channel)) as leader:
        assert leader.order(pb.Preparation.REHEARSAL) == State.STARTED
        assert party1.acceptor.wanted.wait(PATIENCE_S)
    assert a_query_gets_its_turn(party1.scheduler)


def test_a_new_leader_does_not_wait_for_one_that_lingers(party1, channel):
    party1.use()
    with closing(Leader(channel)) as old:
        # It waits for a party 0 that never comes, with its call still open.
        assert old.order(pb.Preparation.REHEARSAL) == State.STARTED
        assert party1.acceptor.wanted.wait(PATIENCE_S)
        with closing(Leader(channel)) as new:
            assert new.order(pb.Preparation.REHEARSAL, NOT_KNOWN) == State.UNKNOWN
            assert a_query_gets_its_turn(party1.scheduler)
        with pytest.raises(grpc.RpcError) as ended:
            next(old.call)
        assert ended.value.code() is grpc.StatusCode.CANCELLED


def test_w21_a_query_ends_a_rehearsal_that_waits_for_the_other_party(party1, channel):
    party1.use()
    with closing(Leader(channel)) as leader:
        # Party 0 says no more, and its call stays open.
        assert leader.order(pb.Preparation.REHEARSAL) == State.STARTED
        assert party1.acceptor.wanted.wait(PATIENCE_S)
        assert a_query_gets_its_turn(party1.scheduler)
        assert leader.order(pb.Preparation.REHEARSAL, NOT_KNOWN) == State.UNKNOWN


def test_w21_a_rehearsal_that_party_0_gives_up_frees_the_turn(party1, channel):
    party1.use()
    session = os.urandom(16)
    with closing(Leader(channel)) as leader:
        assert leader.order(pb.Preparation.REHEARSAL, session=session) == State.STARTED
        dialer = Dialer(mpc_pb2_grpc.MpcStub(channel))
        dialer.give_up(SessionId(session))
        # Answered after the rehearsal only, which nothing else ends.
        assert leader.order(pb.Preparation.REHEARSAL, NOT_KNOWN) == State.UNKNOWN


@pytest.mark.parametrize("failure", [MemoryError, LimitExceeded, DigestMismatch])
def test_w21_party_0_hears_of_whatever_keeps_party_1_from_a_rehearsal(
    party1, channel, monkeypatch, failure
):
    party1.use()

    def fails(*_):
        raise failure("planted")

    monkeypatch.setattr(Weights, "load", fails)
    run = SessionId(os.urandom(16))
    dialer = Dialer(mpc_pb2_grpc.MpcStub(channel))
    agreement = Agreement(b"same", b"", BundleChoice(party1.pool, KIND, usable=False))
    with closing(Leader(channel)) as leader:
        assert leader.order(pb.Preparation.REHEARSAL, session=run.session) == State.STARTED
        with pytest.raises(Unreachable):
            dialer.open(run, agreement, Deadline.after(3600), Cancellation())


def test_while_a_query_is_there_no_rehearsal_begins(party1, channel):
    party1.use()
    with closing(Leader(channel)) as leader:
        with party1.scheduler.query():
            assert leader.order(pb.Preparation.REHEARSAL) == State.BUSY
        assert leader.order(pb.Preparation.REHEARSAL) == State.STARTED


def test_halves_that_party_0_no_longer_has_are_dropped(party1, channel):
    with closing(Leader(channel)) as leader:
        assert leader.order(pb.Preparation.BUNDLE, NOT_KNOWN) == State.UNKNOWN
        names = [os.urandom(16) for _ in range(3)]
        for name in names:
            party1.pool.put(KIND, a_share(name))
        leader.order(pb.Preparation.BUNDLE, NOT_KNOWN, alive=[names[1]])
        assert party1.pool.alive() == [names[1]]
    assert emptied(party1.pool)


@pytest.mark.parametrize(
    ("bundles", "held", "ordered", "made"),
    [
        (4, 0, 2**32 - 1, 4),
        (4, 0, 3, 3),
        (4, 3, 4, 1),
        (4, 5, 4, 1),
        (1, 0, 4, 1),
        (1024, 0, 1024, 8),
        (1024, 1020, 1024, 4),
    ],
)
def test_party_1_makes_no_more_at_once_than_its_own_settings_say(
    tls_for, bundles, held, ordered, made
):
    party1 = Party1(tls_for, bundles)
    party1.rehearsed(KIND)
    names = tuple(os.urandom(16) for _ in range(held))
    party1.pool.put(KIND, *(a_share(name) for name in names))
    order = Order(False, os.urandom(16), KIND, PAIRING, names, ordered, opened=12)
    with closing(party1.dealer):
        first = next(party1.pool_follower.carry_out(order, Cancellation()))
    assert first == Progress(orders.State.STARTED, made)


def test_a_model_that_cannot_be_loaded_costs_one_line_and_not_the_call(party1, channel, caplog):
    party1.use(ModelFile(Path("/nowhere"), "{}", bytes(32)))
    with caplog.at_level(logging.INFO), closing(Leader(channel)) as leader:
        for _ in range(3):
            assert leader.order(pb.Preparation.REHEARSAL) == State.STARTED
            assert leader.order(pb.Preparation.BUNDLE, NOT_KNOWN) == State.UNKNOWN
    assert len([line for line in caplog.records if "rehearsal" in line.getMessage()]) == 1
    assert a_query_gets_its_turn(party1.scheduler)


def test_pauses_grow_to_a_bound_and_start_again_after_success():
    backoff, pauses = Backoff(), []
    for _ in range(8):
        with backoff.catching("bundle", KIND):
            raise NotReady("not yet")
        pauses.append(backoff.pause_s(KIND))
    assert pauses == [0.5, 1, 2, 4, 8, 10, 10, 10]
    with backoff.catching("bundle", KIND):
        pass
    assert backoff.pause_s(KIND) == pauses[0]


def test_what_others_raise_is_logged_by_type_only(caplog):
    with Backoff().catching("bundle", KIND):
        raise ValueError("mask 1234")
    assert "ValueError" in caplog.text and "1234" not in caplog.text
