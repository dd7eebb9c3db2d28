"""An acknowledged upload survives `kill -9`; an unacknowledged one leaves nothing behind."""

import resource
import threading
from contextlib import ExitStack, contextmanager

import grpc
import pytest
from model_server import (
    COHORT,
    TIMEOUT_S,
    Pair,
    ServerProcess,
    an_upload,
    requests,
    settings,
)

from privedge.identity.roles import Role
from privedge.wire import party_pb2 as pb

Code = grpc.StatusCode
DESCRIBE = pb.DescribeCohortRequest(cohort=COHORT)


class Processes(Pair):
    """Both parties as processes; connections are the pair's."""

    def __init__(self, folder, tls_for, stack):
        self.folder, self._tls_for, self._stack = folder, tls_for, stack
        follower = ServerProcess(settings(folder, 1, tls_for(Role.PARTY1)), folder / "p1.json")
        stack.callback(follower.kill)
        leading = settings(folder, 0, tls_for(Role.PARTY0), peer_port=follower.port)
        leader = ServerProcess(leading, folder / "p0.json")
        stack.callback(leader.kill)
        self.processes = (leader, follower)
        self.ports = (leader.port, follower.port)

    def restart(self, party):
        """kill -9 and start again, with the same files and port."""
        self.processes[party].kill()
        self.processes[party].start()

    def describe(self, party):
        """The cohort as one party has it now."""
        return self.stub(party).DescribeCohort(DESCRIBE, timeout=TIMEOUT_S)

    def activate(self, model_id):
        """Ask party 0."""
        request = pb.ActivateModelRequest(model_id=model_id)
        return self.stub(0).ActivateModel(request, timeout=TIMEOUT_S)

    def state(self, party, model_id):
        """Where a model is in its life."""
        rows = self.stub(party).ListModels(pb.ListModelsRequest(), timeout=TIMEOUT_S).models
        return next(row.state for row in rows if row.model_id == model_id)


@pytest.fixture
def pair(tmp_path, tls_for):
    with ExitStack() as stack:
        yield Processes(tmp_path, tls_for, stack)


def test_a_kill_between_any_two_steps_loses_nothing_that_was_acknowledged(pair):
    first = an_upload()
    pair.upload(first, party=0)
    pair.restart(0)
    assert pair.state(0, first.model_id) == "uploaded"
    pair.upload(first, party=1)
    pair.restart(1)
    activated = activated_at_last(pair, first.model_id)
    pair.restart(0)
    pair.restart(1)
    assert pair.describe(0) == pair.describe(1)
    assert pair.describe(0).snapshot_id == activated.snapshot_id
    second = an_upload()
    for party in (0, 1):
        pair.upload(second, party)
        pair.restart(party)
    assert pair.describe(1).snapshot_id == activated.snapshot_id
    superseded = activated_at_last(pair, second.model_id)
    pair.restart(1)
    assert pair.describe(1).snapshot_id == superseded.snapshot_id
    for party in (0, 1):
        stored = pair.folder / f"party{party}/shares/{second.model_id}.words"
        assert stored.read_bytes() == second.raw[party]
        assert pair.files(party) == [stored.name]


def test_a_kill_in_the_middle_of_an_upload_leaves_nothing_after_the_restart(pair):
    half = an_upload()
    with half_sent(pair, half):
        pair.processes[0].kill()
    assert any(name.endswith(".partial") for name in pair.files(0))
    pair.processes[0].start()
    assert pair.files(0) == []
    assert pair.upload(half, party=0).bytes_stored == len(half.raw[0])


@contextmanager
def half_sent(pair, half):
    """While party 0 is in the middle of an upload."""
    never = threading.Event()

    def stalling():
        yield from requests(half.manifest, half.raw[0][: len(half.raw[0]) // 2])
        never.wait(TIMEOUT_S)

    call = pair.stub(0).UploadModel.future(stalling(), timeout=TIMEOUT_S)
    admin = pair.stub(0, Role.ADMIN, "root")
    while not admin.Status(pb.StatusRequest(), timeout=TIMEOUT_S).upload_bytes:
        pass
    yield
    never.set()
    assert call.exception().code() is Code.UNAVAILABLE


def test_an_activation_without_party_1_is_refused_and_can_be_repeated_later(pair):
    half = an_upload()
    for party in (0, 1):
        pair.upload(half, party)
    pair.processes[1].kill()
    with pytest.raises(grpc.RpcError) as refused:
        pair.activate(half.model_id)
    assert refused.value.code() is Code.UNAVAILABLE
    assert pair.state(0, half.model_id) == "uploaded"
    pair.processes[1].start()
    activated = activated_at_last(pair, half.model_id)
    assert pair.describe(1).snapshot_id == activated.snapshot_id


def activated_at_last(pair, model_id):
    """Ask again until party 0 has noticed that party 1 is back."""
    while True:
        try:
            return pair.activate(model_id)
        except grpc.RpcError as error:
            assert error.code() is Code.UNAVAILABLE


def test_party_1_follows_by_itself_after_a_deletion_it_has_missed(pair):
    half = an_upload()
    for party in (0, 1):
        pair.upload(half, party)
    pair.activate(half.model_id)
    pair.processes[1].kill()
    pair.stub(0).DeleteModel(pb.DeleteModelRequest(model_id=half.model_id), timeout=TIMEOUT_S)
    pair.processes[1].start()
    while pair.describe(1).owners:  # party 0's synchroniser retries
        pass
    assert pair.describe(0) == pair.describe(1)
    assert pair.files(1) == []


def test_a_full_disk_is_a_limit_and_the_party_keeps_serving(pair):
    first, second = an_upload(), an_upload()
    pair.upload(first, party=0)
    _, hard = resource.prlimit(pair.processes[0].pid, resource.RLIMIT_FSIZE)
    limit = len(second.raw[0]) // 2
    resource.prlimit(pair.processes[0].pid, resource.RLIMIT_FSIZE, (limit, hard))
    with pytest.raises(grpc.RpcError) as refused:
        pair.upload(second, party=0)
    assert refused.value.code() is Code.RESOURCE_EXHAUSTED
    assert pair.files(0) == [f"{first.model_id}.words"]
    resource.prlimit(pair.processes[0].pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert pair.upload(second, party=0).bytes_stored == len(second.raw[0])
