"""A worker over real gRPC tells its front end how many bundles are ready, and no more often."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from parties.at_rest.vault import Vault
from parties.config.sections import PoolSection
from parties.dealer_trust import DealerTrust
from parties.mpc.bundles import Bundle
from parties.mpc.dealing import SessionId
from parties.wire import worker_pb2 as pb
from parties.wire import worker_pb2_grpc
from parties.worker.computation import Computation
from parties.worker.meeting import Acceptor
from parties.worker.preprocessing.pool import Pool, Prepared
from parties.worker.preprocessing.targets import PoolTargets
from parties.worker.scheduler import Scheduler
from parties.worker.score_tally import ScoreTally
from parties.worker.servicer import WorkerServicer
from parties.worker.sessions import Sessions
from parties.worker.snapshot_cache import Snapshot, SnapshotCache
from parties.worker.task import Kind, Method
from parties.worker.weights import Weights
from privedge.identity.roles import Identity, Role
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from privedge.rpc.server import build_server
from tests.unit.mpc.models import SPECS

PATIENCE_S = 20
SPEC = next(spec for spec in SPECS if spec.name == "subspace")
KIND = Kind("snapshot", (1, *SPEC.input_shape))
ME = Identity(Role.PARTY1, "party1")


@pytest.fixture
def pool() -> Pool:
    return Pool(1 << 20)


@pytest.fixture
def worker(pool, tls_for) -> Iterator[worker_pb2_grpc.WorkerStub]:
    """One that knows a snapshot. Nobody is at the dealer's address."""
    settings, method = PoolSection(batches=(1,)), Method("fused", "one-unit")
    targets = PoolTargets(settings, method, SnapshotCache(keep=2), pool.wake)
    targets.snapshots.put(Snapshot(KIND.snapshot_id, "c", SPEC, 1.0, 0.0, ()))
    dealer = open_channel("127.0.0.1:1", server=Role.DEALER, tls=tls_for(Role.PARTY1))
    sessions = Sessions(1, dealer, Acceptor(), pool, keep=2, trust=DealerTrust(Path("/nowhere")))
    computation = Computation(sessions, Weights(Vault(1), keep=2), ScoreTally(Path()))
    servicer = WorkerServicer(
        computation, pool, Scheduler(), targets, method=method, settings=settings
    )
    server, port = build_server("127.0.0.1:0", tls=None, access=ACCESS)
    worker_pb2_grpc.add_WorkerServicer_to_server(servicer, server)
    server.start()
    with dealer, open_channel(f"127.0.0.1:{port}", server=ME.role, tls=None, claim=ME) as channel:
        yield worker_pb2_grpc.WorkerStub(channel)
    server.stop(None).wait()


def prepared(name: bytes) -> Prepared:
    return Prepared(name, b"", Bundle(SessionId(name), [], 0.0), 1, 0)


def test_a_bundle_that_replaces_a_spent_one_is_no_news_and_one_more_is(worker, pool):
    pool.put(KIND, prepared(b"first"))
    reports = worker.Keep(pb.KeepRequest(snapshot_ids=[KIND.snapshot_id]), timeout=PATIENCE_S)
    (level,) = next(reports).pools
    assert (level.cohort, level.batch, level.ready) == ("c", 1, 1)
    for name in (b"second", b"third"):
        # In this order the level never falls, however long this thread is kept waiting.
        pool.put(KIND, prepared(name))
        assert pool.take(KIND) is not None
        pool.wake()
    pool.put(KIND, prepared(b"one more"))
    assert [level.ready for level in next(reports).pools] == [2]
    reports.cancel()
