"""The queries of both front ends over a real connection; only the workers are stand-ins.

A stand-in answers each image with the image's own first word, so a row that reached another query
would show.
"""

import queue
import struct
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
from unheard import Unheard

from parties.config.sections import BatchingSection, PartyLimits, TimeoutsSection
from parties.party.edge.hello import Hello
from parties.party.edge.peer import PeerClient
from parties.party.edge.peer_servicer import PeerServicer
from parties.party.queries import pending, turns
from parties.party.queries.counters import Counters
from parties.party.queries.follower import Follower
from parties.party.queries.leader import Leader
from parties.party.queries.pending import PendingQuery
from parties.party.queries.runs import Runs
from parties.party.terms import CohortTerms, Terms
from parties.party.workers.messages import AnswerBytes
from parties.serving.handshake import Handshake
from parties.wire import peer_pb2, peer_pb2_grpc
from privedge.errors import (
    CohortDiffers,
    DeadlineExceeded,
    DigestMismatch,
    ManifestMismatch,
    PrivEdgeError,
    TermsDiffer,
    Unreachable,
)
from privedge.identity.roles import Identity, Role
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from privedge.rpc.deadline import Deadline
from privedge.rpc.server import build_server
from privedge.sharing.cost import Cost
from privedge.sharing.question import Question, new_query_id

SOON = 30


class Worker:
    """Echoes the first word of each image, when its gate is open and the other worker is there."""

    def __init__(self, meeting: threading.Condition, met: "list[bytes]", slot: int = 0) -> None:
        """Sessions that begin are put on the list `met`, each by both workers."""
        self.slot = slot
        self.client = self
        self.meeting = meeting
        self.met = met
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[int] = []
        self.sessions: list[bytes] = []
        self.began = threading.Semaphore(0)
        self.given_up = threading.Event()
        self.error: Exception | None = None
        self.rows_too_many = 0

    def run(self, job, words, deadline, caller) -> AnswerBytes:
        rows, width = job.shape
        self.batches.append(rows)
        self.sessions.append(job.session)
        left = threading.Event()

        def leave() -> None:
            self.given_up.set()
            self.gate.set()
            with self.meeting:
                left.set()
                self.meeting.notify_all()

        if not caller.add_callback(leave):
            leave()
        self.began.release()
        with self.meeting:
            self.met.append(job.session)
            self.meeting.notify_all()
            assert self.meeting.wait_for(
                lambda: left.is_set() or self.met.count(job.session) == 2, SOON
            )
        assert self.gate.wait(SOON)
        if left.is_set():
            raise Unreachable("everybody left")
        if self.error is not None:
            raise self.error
        rows = 1 if job.one_subject else rows
        firsts = [words[8 * width * row : 8 * width * row + 8] for row in range(rows)]
        body = b"".join(firsts) + bytes(8 * self.rows_too_many)
        return AnswerBytes((rows + self.rows_too_many, 1), body, Cost(rounds=7, online_s=-1))


class ModelService:
    """Pins nothing; the cohort has one snapshot for each id."""

    def __init__(self) -> None:
        self.behind = threading.Event()
        self.quarantine = SimpleNamespace(hear=lambda peers: None)
        self.standing = Unheard()

    @contextmanager
    def hold(self, snapshot):
        yield


def snapshot(name: str) -> SimpleNamespace:
    spec = SimpleNamespace(to_json=lambda: "{}")
    cohort = SimpleNamespace(
        name="digits", spec=spec, margin=0.5, mean_share=0.0, telemetry=None, rows=lambda most: most
    )
    return SimpleNamespace(id=name, cohort=cohort, models=(), owners=("ana", "ben"))


TERMS = Terms("fused", "one-unit", 1, (CohortTerms("digits", "5a" * 32, 0.5, 0.0),))


class Pair:
    """The query services of both front ends, connected."""

    def __init__(
        self,
        stack: ExitStack,
        *,
        delay_ms: float = 0,
        wrap=lambda stub, pair: stub,
        **timeouts: float,
    ):
        self.stack = stack
        self.threads = stack.enter_context(ThreadPoolExecutor(64))
        meeting, met = threading.Condition(), []
        self.workers = (Worker(meeting, met), Worker(meeting, met))
        self.counters = (Counters(), Counters())
        self.models = ModelService()
        # What party 1 says of itself from its next start on.
        self.theirs = TERMS
        self.handshakes = (Handshake(), Handshake())
        self.port = 0
        self.follower = self._follower()
        self.server = self._serve()
        claim = Identity(Role.PARTY0, "party0")
        address = f"127.0.0.1:{self.port}"
        channel = open_channel(address, server=Role.PARTY1, tls=None, claim=claim)
        config = SimpleNamespace(
            batching=BatchingSection(delay_ms=delay_ms),
            limits=PartyLimits(),
            timeouts=TimeoutsSection(**timeouts),
        )
        self.leader = Leader(
            config,
            self.models,
            SimpleNamespace(workers=[self.workers[0]]),
            Runs(self.models, self.counters[0]),
            PeerClient(wrap(peer_pb2_grpc.PeerStub(channel), self), "party 1"),
            Hello(TERMS, self.handshakes[0], self.models.standing),
        )
        self.leader.start()
        stack.callback(channel.close)
        stack.callback(self.leader.stop)
        stack.callback(self.stop_party_1)

    def stop_party_1(self) -> None:
        stopped = self.server.stop(SOON)
        self.follower.end_watch()
        stopped.wait()
        self.follower.stop()

    def restart_party_1(self) -> None:
        """On the same port, holding nothing."""
        self.follower = self._follower()
        self.server = self._serve()

    def _follower(self) -> Follower:
        pool = SimpleNamespace(workers=[self.workers[1]])
        follower = Follower(
            pool, Runs(self.models, self.counters[1]), late_s=TimeoutsSection().late_s
        )
        follower.start()
        return follower

    def _serve(self):
        server, self.port = build_server(f"127.0.0.1:{self.port}", tls=None, access=ACCESS)
        hello = Hello(self.theirs, self.handshakes[1], self.models.standing)
        servicer = PeerServicer(self.models, self.follower, hello, SimpleNamespace())
        peer_pb2_grpc.add_PeerServicer_to_server(servicer, server)
        server.start()
        return server

    def ask(self, party: int, query: PendingQuery) -> "Future[AnswerBytes]":
        """Hand one share to its party."""
        answer = (self.leader.answer, self.follower.answer)[party]
        return self.threads.submit(answer, query)

    def both(self, *words: int, **changes) -> "Query":
        """Both shares of a query whose images begin with these words."""
        return Query(self, words, **changes)

    def busy(self) -> "Query":
        """A query that holds both workers until `open_gates`."""
        for worker in self.workers:
            worker.gate.clear()
        query = self.both(0)
        for worker in self.workers:
            assert worker.began.acquire(timeout=SOON)
        return query

    def waiting(self, count: int) -> None:
        """Return once party 0 has that many in its queues. Every look is at live threads' work."""
        batch_queue = self.leader._batch_queue
        with batch_queue._changed:
            assert batch_queue._changed.wait_for(
                lambda: sum(map(len, batch_queue._queues.values())) == count, SOON
            )

    def open_gates(self) -> None:
        for worker in self.workers:
            worker.gate.set()


def half(question, pinned, words, *, client="carla", within_s=60) -> PendingQuery:
    return PendingQuery(question, pinned, words, client, Deadline.after(within_s))


class Query:
    """One query: the shares and the futures of their answers."""

    def __init__(
        self,
        pair: Pair,
        words: tuple[int, ...],
        *,
        snapshot_id: str = "s1",
        client: str = "carla",
        **changes,
    ):
        self.words = words
        question = Question(new_query_id(), "digits", snapshot_id, (len(words), 2), **changes)
        body = b"".join(struct.pack("<qq", word, -1) for word in words)
        pinned = snapshot(snapshot_id)
        self.shares = [half(question, pinned, body, client=client) for _ in range(2)]
        self.futures = [pair.ask(party, share) for party, share in enumerate(self.shares)]

    def check(self) -> None:
        """Both parties gave it its own rows, and only these."""
        for future in self.futures:
            answer = future.result(SOON)
            assert answer.shape == (len(self.words), 1)
            assert struct.unpack(f"<{len(self.words)}q", answer.words) == self.words

    def errors(self) -> list[type]:
        return [type(future.exception(SOON)) for future in self.futures]


@pytest.fixture
def pair():
    with ExitStack() as stack:
        yield Pair(stack)


def test_queries_that_wait_together_run_together_and_get_their_own_rows(pair):
    first = pair.busy()
    others = [pair.both(*range(10 * n, 10 * n + n)) for n in (1, 1, 2, 3, 1)]
    pair.waiting(5)
    pair.open_gates()
    for query in [first, *others]:
        query.check()
    assert pair.workers[0].batches == pair.workers[1].batches == [1, 8]
    for counters in pair.counters:
        now = counters.read(())
        assert (now.runs, now.running) == (2, 0)


def test_w15_a_client_that_crowds_rests_after_its_run_and_another_is_answered(pair, monkeypatch):
    monkeypatch.setattr(turns, "_LEAST_REST_S", 3600.0)
    first = pair.busy()
    crowd = [pair.both(word, client="eve") for word in (1, 2, 3)]
    pair.waiting(3)
    pair.open_gates()
    first.check()
    pair.waiting(2)
    pair.both(4).check()
    pair.waiting(2)
    for share in (share for query in crowd for share in query.shares):
        share.leave()
    pair.waiting(0)


def test_both_workers_are_told_the_same_sessions_each_a_new_one(pair):
    for word in range(3):
        pair.both(word).check()
    assert pair.workers[0].sessions == pair.workers[1].sessions
    assert len(set(pair.workers[0].sessions)) == 3


def test_verify_and_other_snapshots_run_by_themselves(pair):
    first = pair.busy()
    others = [
        pair.both(1),
        pair.both(2, verify_owner="ben"),
        pair.both(3, snapshot_id="s2"),
        pair.both(4, verify_owner="ben"),
    ]
    pair.waiting(4)
    pair.open_gates()
    for query in [first, *others]:
        query.check()
    assert pair.workers[0].batches == [1] * 5


def test_images_of_one_subject_get_the_one_row_there_is(pair):
    several = pair.both(6, 7, one_subject=True)
    assert [future.result(SOON).shape for future in several.futures] == [(1, 1)] * 2


def test_an_answer_of_another_size_reaches_nobody(pair):
    pair.workers[0].rows_too_many = 1
    assert pair.both(1).errors()[0] is PrivEdgeError


def test_a_client_that_leaves_during_a_run_does_not_fail_the_others():
    with ExitStack() as stack:
        pair = Pair(stack, delay_ms=300)
        for worker in pair.workers:
            worker.gate.clear()
        leaves, stays = pair.both(1), pair.both(2)
        for worker in pair.workers:
            assert worker.began.acquire(timeout=SOON)
        assert pair.workers[0].batches == [2]
        for share in leaves.shares:
            share.leave()
        assert leaves.errors() == [Unreachable, Unreachable]
        assert not any(worker.given_up.is_set() for worker in pair.workers)
        pair.open_gates()
        stays.check()


def test_a_run_is_given_up_when_its_last_client_leaves(pair):
    query = pair.busy()
    for share, worker in zip(query.shares, pair.workers, strict=True):
        share.leave()
        assert worker.given_up.wait(SOON)
    pair.both(1).check()


def test_a_client_that_leaves_while_it_waits_takes_no_worker(pair):
    first = pair.busy()
    leaves, stays = pair.both(1), pair.both(2)
    pair.waiting(2)
    for share in leaves.shares:
        share.leave()
    pair.waiting(1)
    pair.open_gates()
    first.check()
    stays.check()
    assert pair.workers[0].batches == [1, 1]


def test_a_client_that_leaves_party_1_only_ends_at_party_0_too(pair):
    first = pair.busy()
    leaves = pair.both(1)
    pair.waiting(1)
    leaves.shares[1].leave()
    assert leaves.errors() == [Unreachable, Unreachable]
    pair.open_gates()
    first.check()


class LeavesJustBefore:
    """A stub that lets clients leave party 1 when the order for them is on its way."""

    def __init__(self, stub, pair) -> None:
        self._stub = stub
        self.Hello, self.WatchHalves = stub.Hello, stub.WatchHalves
        self.leaving: list[Query] = []
        self.orders: list[bytes] = []
        self.StartRun = SimpleNamespace(future=self._start)

    def _start(self, order, **options):
        self.orders.append(order.session)
        for query in self.leaving:
            query.shares[1].leave()
            query.futures[1].exception(SOON)
        return self._stub.StartRun.future(order, **options)


def test_a_client_that_leaves_while_it_is_ordered_does_not_fail_the_others():
    stubs = []

    def wrap(stub, pair):
        stubs.append(LeavesJustBefore(stub, pair))
        return stubs[0]

    with ExitStack() as stack:
        pair = Pair(stack, wrap=wrap)
        first = pair.busy()
        queries = [pair.both(word) for word in range(1, 5)]
        pair.waiting(4)
        stubs[0].leaving = queries[1:2]
        pair.open_gates()
        for query in (first, queries[0], queries[2], queries[3]):
            query.check()
        assert queries[1].errors() == [Unreachable, Unreachable]
        # W-45: nothing of it was opened, so it is not charged; the others are.
        assert not any(share.begun for share in queries[1].shares)
        assert all(share.begun for query in queries[2:] for share in query.shares)
        # A new session for those that stayed; four were ordered, then two and one.
        assert len(set(stubs[0].orders)) == 4
        assert pair.workers[1].batches == [1, 2, 1]


def test_a_run_that_fails_ends_alike_for_all_its_queries(pair):
    pair.busy()
    queries = [pair.both(word) for word in range(4)]
    pair.waiting(4)
    for worker in pair.workers:
        worker.error = DigestMismatch("a damaged share")
    pair.open_gates()
    for query in queries:
        assert query.errors() == [DigestMismatch, DigestMismatch]
        assert all(share.begun for share in query.shares)
    for worker in pair.workers:
        worker.error = None
    pair.both(7).check()


def one_share(pair: Pair, party: int, **changes) -> "Future[AnswerBytes]":
    question = Question(new_query_id(), "digits", "s1", (1, 2), **changes)
    return pair.ask(party, half(question, snapshot("s1"), bytes(16)))


def test_c37_c38_shares_without_another_hold_no_worker_and_end_in_time(pair, monkeypatch):
    monkeypatch.setattr(pending, "LOOK_S", 0.1)
    alone = [one_share(pair, 0) for _ in range(3)]
    for word in range(3):
        pair.both(word).check()
    assert not any(share.done() for share in alone)
    # Their patience ends at their next look.
    monkeypatch.setattr(pair.leader._pairing, "_half_s", 0.0)
    assert [type(share.exception(SOON)) for share in alone] == [DeadlineExceeded] * 3
    assert pair.workers[0].batches == [1] * 3
    assert pair.models.behind.is_set()


def test_c37_a_share_at_party_1_that_is_never_ordered_ends_at_its_deadline(pair):
    question = Question(new_query_id(), "digits", "s1", (1, 2))
    share = half(question, snapshot("s1"), bytes(16), within_s=0.2)
    assert isinstance(pair.ask(1, share).exception(SOON), DeadlineExceeded)


@pytest.mark.parametrize("first", [0, 1])
def test_shares_that_differ_are_refused_at_both(pair, first):
    query_id = new_query_id()
    shares = []
    for party, shape in sorted([(0, (1, 2)), (1, (2, 2))], reverse=first == 1):
        question = Question(query_id, "digits", "s1", shape)
        words = bytes(8 * question.words)
        shares.append(pair.ask(party, half(question, snapshot("s1"), words)))
    assert [type(share.exception(SOON)) for share in shares] == [ManifestMismatch] * 2
    assert pair.workers[0].batches == []


def test_without_party_1_a_query_ends_as_unreachable_and_works_when_it_is_back(pair, monkeypatch):
    monkeypatch.setattr(pending, "LOOK_S", 0.1)
    pair.both(1).check()
    pair.stop_party_1()
    assert isinstance(one_share(pair, 0).exception(SOON), Unreachable)
    monkeypatch.setattr(pending, "LOOK_S", 10.0)
    pair.restart_party_1()
    pair.both(2).check()


@pytest.mark.parametrize(
    ("other", "error"),
    [
        ({"rounding": "exact"}, TermsDiffer),
        ({"cohorts": (replace(TERMS.cohorts[0], margin=0.4),)}, CohortDiffers),
    ],
)
def test_w60_a_party_1_that_comes_back_with_other_terms_is_refused_until_they_agree_again(
    pair, monkeypatch, other, error
):
    monkeypatch.setattr(pending, "LOOK_S", 0.1)
    pair.both(1).check()
    said = queue.SimpleQueue()
    pair.handshakes[0].watch(said.put)
    assert said.get(timeout=SOON)
    for terms in (replace(TERMS, **other), TERMS):
        pair.stop_party_1()
        pair.theirs = terms
        pair.restart_party_1()
        # Heard at party 0, before it asks for shares.
        assert said.get(timeout=SOON) == (error is CohortDiffers or terms is TERMS)
        if terms is TERMS:
            pair.both(2).check()
        else:
            # Whoever has come meanwhile learns of it at the next look.
            assert isinstance(one_share(pair, 0).exception(SOON), error)
            for handshake in pair.handshakes:
                with pytest.raises(error):
                    handshake.require("digits")
    assert pair.workers[0].batches == [1, 1]


def test_a_watch_that_was_lost_begins_with_what_is_there(pair):
    pair.busy()
    waits = pair.both(1)
    pair.waiting(1)
    # A second watcher ends the first, which then comes back and ends the second.
    stub = pair.leader._peer.stub
    other = stub.WatchHalves(peer_pb2.WatchHalvesRequest())
    assert [share.query_id.hex() for share in next(other).arrived] == [waits.shares[1].id]
    for _ in other:
        pass
    pair.open_gates()
    waits.check()
    pair.both(2).check()
    assert pair.workers[0].batches == [1, 1, 1]


def test_a_run_that_is_late_at_party_1_makes_way_for_the_next(pair, monkeypatch):
    monkeypatch.setattr(pair.follower, "_late_s", 0.05)
    late = pair.busy()
    pair.workers[0].gate.set()
    late.futures[0].result(SOON)
    following = pair.both(1)
    assert isinstance(late.futures[1].exception(SOON), Unreachable)
    following.check()


def test_an_order_that_party_1_does_not_answer_ends_its_queries_in_time(monkeypatch):
    asked, answered = threading.Event(), threading.Event()

    def order(self, order):
        asked.set()
        assert answered.wait(SOON)
        return ()

    with ExitStack() as stack:
        pair = Pair(stack, order_s=0.2)
        stack.callback(answered.set)
        monkeypatch.setattr(Follower, "order", order)
        query = pair.both(1)
        assert isinstance(query.futures[0].exception(SOON), DeadlineExceeded)
        assert asked.is_set()
        query.shares[1].leave()


def test_the_time_a_query_took_is_its_own(pair):
    first = pair.busy()
    second = pair.both(1)
    pair.waiting(1)
    pair.open_gates()
    costs = [future.result(SOON).cost for future in (*first.futures, *second.futures)]
    # The rounds are the run's; the worker's own seconds have made way for the query's.
    assert all(cost.rounds == 7 and cost.online_s >= 0 for cost in costs)
    assert all(cost.queue_s > 0 for cost in costs[2:])
