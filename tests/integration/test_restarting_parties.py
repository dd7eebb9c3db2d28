"""An acknowledged upload survives `kill -9`; an unacknowledged one leaves nothing behind."""

import contextlib
import os
import resource
import subprocess
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


def test_c52_a_kill_between_any_two_steps_loses_nothing_that_was_acknowledged(pair):
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


def test_c10_an_activation_without_party_1_is_refused_and_can_be_repeated_later(pair):
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


def test_c19_a_full_disk_is_a_limit_and_the_party_keeps_serving(pair):
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


@pytest.fixture
def pair_on_small_disks(tmp_path, tls_for):
    """Each party has a file system of 32 MiB, of which the reserve takes half."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    with ExitStack() as stack:
        for party in (0, 1):
            path = tmp_path / f"party{party}"
            path.mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", "size=32m,mode=0700", "tmpfs", str(path)]
            subprocess.run(mount, check=True)
            stack.callback(subprocess.run, ["umount", "-l", str(path)], check=True)
        yield Processes(tmp_path, tls_for, stack)


@pytest.mark.parametrize("party", [0, 1])
def test_w22_w26_on_a_full_disk_every_call_has_an_end_and_a_deletion_frees_space(
    pair_on_small_disks, party
):
    pair = pair_on_small_disks
    active, waiting, late = an_upload(), an_upload("ben"), an_upload("cy")
    for upload in (active, waiting):
        for each in (0, 1):
            pair.upload(upload, each)
    pair.activate(active.model_id)
    filler = pair.folder / f"party{party}/filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 12))
    with pytest.raises(grpc.RpcError) as refused:
        pair.upload(late, party)
    full = (Code.RESOURCE_EXHAUSTED, "its disk is full")
    assert (refused.value.code(), refused.value.details()) == full
    assert pair.state(party, active.model_id) == "active"
    request = pb.ActivateModelRequest(model_id=waiting.model_id)
    pair.stub(0, name="ben").ActivateModel(request, timeout=TIMEOUT_S)
    pair.restart(party)
    for each in (0, 1):
        request = pb.DeleteModelRequest(model_id=active.model_id)
        deleted_at_last(pair.stub(each), request)
    while pair.describe(0) != pair.describe(1):  # party 0's synchroniser
        pass
    assert list(pair.describe(1).owners) == ["ben"]
    assert f"{active.model_id}.words" not in pair.files(party)
    filler.unlink()
    assert pair.upload(late, party).bytes_stored == len(late.raw[party])


def deleted_at_last(stub, request):
    """Ask again while the connection to a restarted party comes back."""
    while True:
        try:
            stub.DeleteModel(request, timeout=TIMEOUT_S)
            return
        except grpc.RpcError as error:
            assert error.code() in (Code.UNAVAILABLE, Code.FAILED_PRECONDITION)


def test_w18_a_kill_after_the_last_byte_and_before_the_name_keeps_the_upload(pair):
    """The upload is registered but not named: the state in which a process can die."""
    upload = an_upload()
    pair.upload(upload, party=0)
    pair.processes[0].kill()
    shares = pair.folder / "party0/shares"
    named = shares / f"{upload.model_id}.words"
    named.rename(shares / f"{upload.model_id}.0123456789abcdef.partial")
    pair.processes[0].start()
    assert pair.files(0) == [named.name]
    assert pair.upload(upload, party=0).bytes_stored == len(upload.raw[0])
