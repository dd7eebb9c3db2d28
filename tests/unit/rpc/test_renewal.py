"""Outgoing channels take over renewed certificates: W-01 and the parts of it.

Old certificates are made useless by another authority, not by waiting until they end.
"""

import shutil
import threading
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from privedge.config import TlsFiles
from privedge.errors import CertificateError
from privedge.identity.certificates import create_authority, issue
from privedge.identity.roles import Identity, Role
from privedge.rpc import renewal
from privedge.rpc.channel import open_channel, wait_connected
from privedge.rpc.tls import server_credentials

IDENTITIES = (Identity(Role.PARTY0, "party0"), Identity(Role.ADMIN, "a"))
SERVING = health_pb2.HealthCheckResponse.SERVING
REQUEST = health_pb2.HealthCheckRequest()
LOOKS = 2000


class World:
    """One authority after another, and the files of a server and of a caller."""

    def __init__(self, folder):
        self._folder, self._rounds = folder, 0
        self.server, self.caller = (self._files(i.role) for i in IDENTITIES)
        self.renew()

    def _files(self, role):
        return TlsFiles(
            ca=self._folder / f"{role}.ca.crt",
            certificate=self._folder / f"{role}.crt",
            key=self._folder / f"{role}.key",
        )

    def renew(self, *, server=True, caller=True):
        """Replace the authority and every certificate."""
        self._rounds += 1
        authority = self._folder / str(self._rounds)
        create_authority(authority)
        for identity, wanted in zip(IDENTITIES, (server, caller), strict=True):
            made, into = issue(authority, identity), self._files(identity.role)
            if wanted:
                for kind in ("ca", "certificate", "key"):
                    part = into.ca.with_suffix(".part")
                    shutil.copy(getattr(made, kind), part)
                    part.replace(getattr(into, kind))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@contextmanager
def serving(files, address="127.0.0.1:0"):
    """A health service; leaving the block cuts all connections."""
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    servicer = health.HealthServicer()
    servicer.set("", SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_secure_port(address, server_credentials(files))
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def dialled(address, files):
    return open_channel(address, server=Role.PARTY0, tls=files)


def check(channel, **more):
    stub = health_pb2_grpc.HealthStub(channel)
    return stub.Check(REQUEST, **{"timeout": 20, "wait_for_ready": True, **more}).status


def connections(address):
    """How many connections the server at that address has, as the kernel says."""
    port = b":%04X" % int(address.rpartition(":")[2])
    tables = [Path(f"/proc/self/net/{table}").read_bytes() for table in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return sum(row[1].endswith(port) and row[3] == b"01" for row in rows)


def until(condition):
    pause = threading.Event()
    for _ in range(LOOKS):
        renewal.look_at_all()
        if condition():
            return
        pause.wait(0.01)
    pytest.fail("it did not come to be")


def test_w01_one_channel_outlives_five_authorities_with_its_connection_cut_each_time(world):
    with serving(world.server) as address:
        channel = dialled(address, world.caller)
        assert check(channel) == SERVING
    with channel:
        for epoch in range(1, 6):
            world.renew()
            with serving(world.server, address):
                assert check(channel) == SERVING
            assert renewal.epoch_of(channel) == epoch


def test_w01_every_kind_of_call_and_the_wait_for_a_connection_use_the_renewed_files(world):
    with serving(world.server) as address:
        channel = dialled(address, world.caller)
        stub = health_pb2_grpc.HealthStub(channel)
        ways = {
            "at once": lambda: stub.Check(REQUEST, timeout=20),
            "with its call": lambda: stub.Check.with_call(REQUEST, timeout=20)[0],
            "later": lambda: stub.Check.future(REQUEST, timeout=20).result(),
            "as a stream": lambda: next(iter(stub.Watch(REQUEST, timeout=20))),
        }
        with channel:
            for ask in ways.values():
                world.renew()
                assert ask().status == SERVING
            world.renew()
            wait_connected(channel, "party 0", within_s=20)


def test_w01_without_renewal_the_old_files_are_refused(world):
    with serving(world.server) as address:
        channel = dialled(address, world.caller)
        assert check(channel) == SERVING
    world.renew(caller=False)
    with channel, serving(world.server, address):
        with pytest.raises(grpc.RpcError) as refusal:
            check(channel, wait_for_ready=False)
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE


def test_w01_a_running_call_ends_on_the_connection_it_began_on_which_is_then_closed(world):
    with serving(world.server) as address, dialled(address, world.caller) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(REQUEST, timeout=60)
        assert next(watch).status == SERVING
        assert connections(address) == 1
        world.renew()
        assert check(channel) == SERVING
        assert connections(address) == 2
        assert watch.is_active()
        watch.cancel()
        del watch
        until(lambda: connections(address) == 1)
        assert check(channel) == SERVING


def test_w01_a_call_that_waits_for_a_server_which_refuses_the_old_certificate_is_let_go(world):
    with serving(world.server) as address:
        channel = dialled(address, world.caller)
        assert check(channel) == SERVING
    world.renew(caller=False)
    with channel, serving(world.server, address):
        waiting = health_pb2_grpc.HealthStub(channel).Watch(REQUEST, wait_for_ready=True)
        assert waiting.is_active()
        world.renew()
        until(lambda: not waiting.is_active())
        assert waiting.code() is grpc.StatusCode.CANCELLED
        assert check(channel) == SERVING


def test_w01_unusable_files_are_logged_and_the_old_ones_kept(world, caplog):
    with serving(world.server) as address, dialled(address, world.caller) as channel:
        good = world.caller.certificate.read_bytes()
        world.caller.certificate.write_text("half a file")
        assert check(channel) == SERVING
        assert "kept the old certificate" in caplog.text and renewal.epoch_of(channel) == 0
        world.caller.certificate.unlink()
        assert check(channel) == SERVING
        world.caller.certificate.write_bytes(good)
        assert check(channel) == SERVING
        assert renewal.epoch_of(channel) == 1
        with pytest.raises(CertificateError):
            world.caller.key.unlink()
            dialled(address, world.caller)


def test_w01_closing_ends_the_calls_of_replaced_connections_too(world):
    with serving(world.server) as address:
        channel = dialled(address, world.caller)
        watch = health_pb2_grpc.HealthStub(channel).Watch(REQUEST)
        assert next(watch).status == SERVING
        world.renew()
        assert check(channel) == SERVING
        channel.close()
        with pytest.raises(grpc.RpcError) as ending:
            next(watch)
        assert ending.value.code() is grpc.StatusCode.CANCELLED
        world.renew()
        with pytest.raises(ValueError, match="closed channel"):
            check(channel)
        assert channel not in renewal._CHANNELS
