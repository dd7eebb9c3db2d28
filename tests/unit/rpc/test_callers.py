"""Certificates are looked at in each call and while calls run: expiry, deny list, pins, admins."""

import datetime
import os
from contextlib import ExitStack, contextmanager
from functools import partial

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from test_access import METHODS

from parties.serving.certificate_watch import CertificateWatch
from parties.serving.lifecycle import add_health
from parties.wire import dealer_pb2_grpc, mpc_pb2_grpc, peer_pb2_grpc, worker_pb2_grpc
from privedge.config import TlsFiles
from privedge.errors import CertificateEnded, ConfigError, NotAllowed
from privedge.identity.certificates import create_authority, issue
from privedge.identity.checking import check_files
from privedge.identity.pem_files import read_chain
from privedge.identity.roles import Identity, Role
from privedge.rpc import server as server_module
from privedge.rpc.about import add_about
from privedge.rpc.access import ACCESS, CallerRules
from privedge.rpc.callers import Callers, DenyList, sweep_all, utc_now
from privedge.rpc.channel import open_channel
from privedge.rpc.server import build_server
from privedge.rpc.status import calls_to
from privedge.rpc.witness import Witness
from privedge.wire import party_pb2_grpc

REQUEST = health_pb2.HealthCheckRequest()
SERVING = health_pb2.HealthCheckResponse.SERVING
DAY = datetime.timedelta(days=1)
Code = grpc.StatusCode


class Clock:
    """The time, moved on by hand."""

    def __init__(self):
        self.ahead = datetime.timedelta()

    def __call__(self):
        return utc_now() + self.ahead


class Heard(Witness):
    """What a server's witness was told."""

    def __init__(self):
        self.refusals, self.admins, self.lists = [], [], []

    def refused(self, who, method):
        self.refusals.append((who, method))

    def admin_called(self, who, method):
        self.admins.append((who, method))

    def deny_list_changed(self, added, removed):
        self.lists.append((set(added), set(removed)))


@contextmanager
def serving(files, rules=None, witness=None):
    server, port = build_server(
        "127.0.0.1:0", tls=files, access=ACCESS, rules=rules, witness=witness
    )
    add_health(server).set_serving([""], True)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


class Caller:
    """A connection, a call on it that has begun, and further calls."""

    def __init__(self, stack, address, files, server=Role.PARTY0):
        channel = stack.enter_context(open_channel(address, server=server, tls=files))
        self._stub = health_pb2_grpc.HealthStub(channel)
        self._watch = self._stub.Watch(REQUEST, timeout=60)

    def began(self):
        assert next(self._watch).status == SERVING
        return self

    def ask(self):
        with calls_to("party 0"):
            return self._stub.Check(REQUEST, timeout=20).status

    def ending(self):
        """The status with which the call that runs is ended."""
        with pytest.raises(grpc.RpcError) as ending:
            next(self._watch)
        return ending.value.code()

    @property
    def is_heard(self):
        return self._watch.is_active()


def test_w02_an_open_connection_ends_with_its_certificate(tls_for, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(server_module, "Callers", partial(Callers, now=clock))
    with serving(tls_for(Role.PARTY0)) as address, ExitStack() as stack:
        short = Caller(stack, address, tls_for(Role.CLIENT, "short", days=1)).began()
        long = Caller(stack, address, tls_for(Role.CLIENT, "long", days=3)).began()
        clock.ahead = 2 * DAY
        with pytest.raises(CertificateEnded, match="renew it if it has expired"):
            short.ask()
        assert long.ask() == SERVING
        sweep_all()
        assert short.ending() is Code.CANCELLED
        assert long.is_heard and long.ask() == SERVING


def by_name(files, who):
    return f"{who.uri} # stolen on Monday"


def by_serial(files, who):
    return f"{read_chain(files.certificate)[0].serial_number:x}"


def by_serial_with_colons(files, who):
    raw = f"{read_chain(files.certificate)[0].serial_number:040X}"
    return ":".join(raw[at : at + 2] for at in range(0, 40, 2))


def by_serial_as_openssl_prints_it(files, who):
    return f"serial={read_chain(files.certificate)[0].serial_number:040X}"


def by_serial_as_a_number(files, who):
    return f"{read_chain(files.certificate)[0].serial_number:#x}"


@pytest.mark.parametrize(
    "entry",
    [
        by_name,
        by_serial,
        by_serial_with_colons,
        by_serial_as_openssl_prints_it,
        by_serial_as_a_number,
    ],
)
def test_w03_a_denied_caller_is_out_at_once_and_nobody_else(tls_for, tmp_path, entry):
    denied = tmp_path / "denied.txt"
    denied.write_text("# nobody yet\n\n")
    thief = Identity(Role.OWNER, f"thief-{entry.__name__.replace('_', '-')}")
    files, heard = tls_for(thief.role, thief.name), Heard()
    with (
        serving(tls_for(Role.PARTY0), CallerRules(denied=denied), heard) as address,
        ExitStack() as stack,
    ):
        bad = Caller(stack, address, files).began()
        good = Caller(stack, address, tls_for(Role.OWNER, "honest")).began()
        assert bad.ask() == good.ask() == SERVING
        denied.write_text(f"  {entry(files, thief)}\n")
        sweep_all()
        assert bad.ending() is Code.CANCELLED
        for caller in (bad, Caller(stack, address, files)):
            with pytest.raises(CertificateEnded):
                caller.ask()
        assert good.is_heard and good.ask() == SERVING
        denied.write_text("")
        assert bad.ask() == SERVING
    ((added, nothing), (nobody, removed)) = heard.lists
    assert len(added) == 1 and (added, nothing) == (removed, nobody)
    assert {who for who, _ in heard.refusals} == {thief.uri}
    assert heard.refusals.count((thief.uri, "/grpc.health.v1.Health/Check")) == 2


def test_w03_a_list_that_cannot_be_read_changes_nothing_while_running(tls_for, tmp_path, caplog):
    denied = tmp_path / "denied.txt"
    denied.write_text("spiffe://privedge/client/thief\n")
    rules = CallerRules(denied=denied)
    with serving(tls_for(Role.PARTY0), rules) as address, ExitStack() as stack:
        thief = Caller(stack, address, tls_for(Role.CLIENT, "thief"))
        for spoil in (lambda: denied.write_text("who?\n"), denied.unlink):
            spoil()
            with pytest.raises(CertificateEnded):
                thief.ask()
        assert caplog.text.count("kept the old deny list") == 2


def test_w03_a_list_may_begin_with_a_byte_order_mark(tmp_path):
    denied = tmp_path / "denied.txt"
    denied.write_text("spiffe://privedge/client/thief\n", encoding="utf-8-sig")
    assert DenyList(denied, Witness()).holds("spiffe://privedge/client/thief", None)


def test_w03_a_list_that_is_a_pipe_is_refused_at_once(tmp_path):
    denied = tmp_path / "denied.txt"
    os.mkfifo(denied)
    with pytest.raises(ConfigError, match=r"denied\.txt: the deny list cannot be read"):
        DenyList(denied, Witness())


@pytest.mark.parametrize("text", ["who?", "spiffe://privedge/king/a", "12 34", "serial=", None])
def test_w03_a_server_does_not_start_with_a_list_that_it_cannot_read(tls_for, tmp_path, text):
    denied = tmp_path / "denied.txt"
    if text is not None:
        denied.write_text(f"# one line of words\n{text}\n")
    expected = "line 2 is neither" if text else "cannot be read"
    with pytest.raises(ConfigError, match=rf"denied\.txt: .*{expected}"):
        build_server("127.0.0.1:0", tls=None, access={}, rules=CallerRules(denied=denied))


@pytest.fixture(scope="module")
def heard():
    return Heard()


@pytest.fixture(scope="module")
def administered(tls_for, heard):
    """Party 0, whose operator's admin is ana; bob is party 1's."""
    rules = CallerRules(admins=frozenset({"ana"}))
    server, port = build_server(
        "127.0.0.1:0", tls=tls_for(Role.PARTY0), access=ACCESS, rules=rules, witness=heard
    )
    party_pb2_grpc.add_PartyServicer_to_server(party_pb2_grpc.PartyServicer(), server)
    peer_pb2_grpc.add_PeerServicer_to_server(peer_pb2_grpc.PeerServicer(), server)
    mpc_pb2_grpc.add_MpcServicer_to_server(mpc_pb2_grpc.MpcServicer(), server)
    dealer_pb2_grpc.add_DealerServicer_to_server(dealer_pb2_grpc.DealerServicer(), server)
    worker_pb2_grpc.add_WorkerServicer_to_server(worker_pb2_grpc.WorkerServicer(), server)
    add_health(server)
    add_about(server)
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("role", "name"),
    [(role, name) for role in Role for name in ("ana", "bob") if not role.serves or name == "ana"],
)
def test_w04_an_admin_of_the_other_operator_may_call_nothing_and_others_as_before(
    administered, heard, tls_for, role, name
):
    who = Identity(role, role.value if role.serves else name)
    files = tls_for(role, None if role.serves else name)
    offered = [each for each in METHODS if "reflection" not in each and ".Split/" not in each]
    refused = set()
    with open_channel(administered, server=Role.PARTY0, tls=files) as channel:
        for method in offered:
            call = channel.stream_stream(method)(iter([b""]), timeout=20)
            try:
                next(call, None)
                call.cancel()
            except grpc.RpcError as error:
                if error.code() is Code.PERMISSION_DENIED:
                    refused.add(method)
    foreign = (role, name) == (Role.ADMIN, "bob")
    assert refused == {each for each in offered if foreign or role not in ACCESS[each]}
    # C-05: each refusal, and each call of an admin, is there for the audit log.
    assert {method for said, method in heard.refusals if said == who.uri} == refused
    called = {method for said, method in heard.admins if said == who.uri}
    assert called == (set(offered) - refused if role is Role.ADMIN else set())


class Authorities:
    """One that everybody trusts, and one that is pinned for party 0."""

    def __init__(self, folder):
        self._folders = {name: folder / name for name in ("shared", "pinned")}
        for each in self._folders.values():
            create_authority(each)
        self._pin = self._folders["pinned"] / "ca.crt"

    def files(self, identity, by="shared"):
        made = issue(self._folders[by], identity)
        pins = made.pins.model_copy(update={"party0": self._pin})
        return TlsFiles(
            ca=self._folders["shared"] / "ca.crt",
            certificate=made.certificate,
            key=made.key,
            pins=pins,
        )

    def careless(self, identity, by):
        """Files with which a caller passes its own check, whoever is pinned elsewhere."""
        made = issue(self._folders[by], identity)
        pins = made.pins.model_copy(update={"party1": self._folders["shared"] / "ca.crt"})
        return made.model_copy(update={"pins": pins})


@pytest.fixture
def authorities(tmp_path):
    return Authorities(tmp_path)


PARTY0, PARTY1 = (Identity(role, role.value) for role in (Role.PARTY0, Role.PARTY1))


def test_w06_a_server_takes_a_role_from_its_pinned_authority_only(authorities):
    with serving(authorities.files(PARTY1)) as address, ExitStack() as stack:
        ask = lambda files: Caller(stack, address, files, Role.PARTY1).ask()  # noqa: E731
        assert ask(authorities.files(PARTY0, by="pinned")) == SERVING
        assert ask(authorities.files(Identity(Role.OWNER, "ana"))) == SERVING
        # The shared authority cannot pose as party 0, nor party 0's authority as anybody else.
        for impostor, by in (
            (PARTY0, "shared"),
            (Identity(Role.OWNER, "bob"), "pinned"),
            (Identity(Role.ADMIN, "bob"), "pinned"),
        ):
            with pytest.raises(NotAllowed):
                ask(authorities.careless(impostor, by))


def test_w06_a_pin_can_be_replaced_while_the_server_runs(authorities, tmp_path):
    server_files = authorities.files(PARTY1)
    pin = tmp_path / "pin.crt"
    pin.write_bytes(server_files.pins.party0.read_bytes())
    pins = server_files.pins.model_copy(update={"party0": pin})
    with (
        serving(server_files.model_copy(update={"pins": pins})) as address,
        ExitStack() as stack,
    ):
        caller = Caller(stack, address, authorities.careless(PARTY0, "pinned"), Role.PARTY1)
        assert caller.ask() == SERVING
        pin.write_bytes(server_files.ca.read_bytes())
        with pytest.raises(NotAllowed):
            caller.ask()


def test_w01_two_weeks_before_its_certificate_ends_a_server_says_so_once_a_day(tmp_path, caplog):
    create_authority(tmp_path)
    files = issue(tmp_path, PARTY0, days=30)
    ends, clock = check_files(files).ends, Clock()
    watch = CertificateWatch(files, now=clock)

    def said(day):
        clock.ahead = datetime.timedelta(days=day)
        caplog.clear()
        watch.look()
        return [each for each in caplog.messages if str(files.certificate) in each]

    assert said(0) == said(15) == []
    (warning,) = said(17)
    assert "in 12 days; renew it" in warning and f"{ends:%Y-%m-%d}" in warning
    assert said(17.5) == []
    assert len(said(18.1)) == 1
    assert "has expired" in said(31)[0]
    files.certificate.unlink()
    files.key.unlink()
    issue(tmp_path, PARTY0, days=60)
    assert said(31.1) == [] and watch.ends > ends
    files.certificate.write_text("")
    watch.look()
    assert "cannot be used" in caplog.text and watch.ends > ends
