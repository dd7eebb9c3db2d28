"""What a peer and the log get to see of every way a call can end, for all four kinds of call."""

import logging
import queue
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest

from privedge import errors, log
from privedge.config import TlsFiles
from privedge.errors import ConfigError, NotAllowed, ShareError
from privedge.identity.roles import Identity, Role
from privedge.rpc import gate, loopback, request_id
from privedge.rpc.access import CallerRules
from privedge.rpc.admission import Quota
from privedge.rpc.callers import Callers
from privedge.rpc.channel import MAX_MESSAGE_BYTES, open_channel
from privedge.rpc.server import build_server, caller
from privedge.rpc.status import ERROR_ID, RETRY_AFTER, STATUS, from_status
from privedge.rpc.threads import threads
from privedge.rpc.witness import Witness
from privedge.wire import party_pb2 as pb

CANARY = "canary-4711"
CLAIM = Identity(Role.CLIENT, "ward")
Code = grpc.StatusCode
KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]


def parse(raw):
    return pb.ListModelsRequest.FromString(raw)


def handlers(behaviour):
    """The same behaviour, a generator of responses, under all four kinds of call."""

    def one(request, context):
        return list(behaviour(request, context))[-1]

    makers = {
        "unary_unary": (grpc.unary_unary_rpc_method_handler, one),
        "unary_stream": (grpc.unary_stream_rpc_method_handler, behaviour),
        "stream_unary": (grpc.stream_unary_rpc_method_handler, one),
        "stream_stream": (grpc.stream_stream_rpc_method_handler, behaviour),
    }
    return {
        kind: make(function, request_deserializer=parse, response_serializer=bytes)
        for kind, (make, function) in makers.items()
    }


@contextmanager
def serving(behaviour, *, allowed=frozenset(Role), claim=CLAIM, **told):
    access = {f"/test.Service/{kind}": allowed for kind in KINDS}
    server, port = build_server("127.0.0.1:0", tls=None, access=access, **told)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test.Service", handlers(behaviour)),)
    )
    server.start()
    try:
        with open_channel(
            f"127.0.0.1:{port}", server=Role.PARTY0, tls=None, claim=claim
        ) as channel:
            yield channel
    finally:
        server.stop(None).wait()


def call(channel, kind, raw=b"", metadata=None):
    """Make one call and return all responses; raises grpc.RpcError."""
    stub = getattr(channel, kind)(f"/test.Service/{kind}")
    request = iter([raw]) if kind.startswith("stream") else raw
    response = stub(request, timeout=20, metadata=metadata)
    return list(response) if kind.endswith("stream") else [response]


def refusal(channel, kind, raw=b"", metadata=None):
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, kind, raw, metadata)
    return caught.value


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_passes_unchanged_and_the_servicer_knows_the_caller(kind):
    def behaviour(request, context):
        yield caller(context).uri.encode()

    with serving(behaviour) as channel:
        assert call(channel, kind) == [b"spiffe://privedge/client/ward"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("late", [False, True], ids=["at once", "midway"])
def test_c48_a_bug_reaches_the_peer_as_an_id_only_and_the_log_without_its_text(kind, late, caplog):
    def behaviour(request, context):
        if late:
            yield b"first"
        raise ValueError(CANARY)
        yield b"never"

    with serving(behaviour) as channel:
        error = refusal(channel, kind)
    assert (error.code(), error.details()) == (Code.INTERNAL, "internal error")
    trailing = dict(error.trailing_metadata())
    assert CANARY not in f"{error!r}{trailing}"
    assert "ValueError" in caplog.text
    assert trailing[ERROR_ID] in caplog.text
    assert CANARY not in caplog.text and "Traceback" not in caplog.text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error_kind", [kind for kind in STATUS if kind is not Exception])
def test_each_of_our_errors_arrives_as_itself_and_its_message_stays_here(kind, error_kind, caplog):
    def behaviour(request, context):
        yield b"first"
        raise error_kind(f"tensor 3: {CANARY}\nsecond line")

    with serving(behaviour) as channel:
        error = refusal(channel, kind)
    assert (error.code(), error.details()) == STATUS[error_kind]
    assert type(from_status(error, "party 0")) is error_kind
    assert CANARY not in f"{error!r}{error.trailing_metadata()}"
    assert f"tensor 3: {CANARY} second line" in caplog.text


def test_one_of_our_errors_that_no_servicer_should_raise_is_internal_and_logged(caplog):
    def behaviour(request, context):
        raise errors.RangeError("weights: too large")
        yield b""

    with serving(behaviour) as channel:
        error = refusal(channel, "unary_unary")
    assert (error.code(), error.details()) == (Code.INTERNAL, "internal error")
    assert "weights: too large" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_of_another_service_that_fails_inside_a_servicer_is_our_bug(kind, caplog):
    def behaviour(request, context):
        yield b"first"
        with open_channel("127.0.0.1:1", server=Role.PARTY1, tls=None, claim=CLAIM) as elsewhere:
            elsewhere.unary_unary("/x.Y/z")(b"", timeout=20)

    with serving(behaviour) as channel:
        assert refusal(channel, kind).code() is Code.INTERNAL


@pytest.mark.parametrize("kind", KINDS)
def test_a_status_that_a_servicer_chose_itself_is_kept(kind):
    def behaviour(request, context):
        context.abort(Code.OUT_OF_RANGE, "chosen")
        yield b""

    with serving(behaviour) as channel:
        error = refusal(channel, kind)
    assert (error.code(), error.details()) == (Code.OUT_OF_RANGE, "chosen")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("raw", [b"\xff", b"\x0a\xff\xff", b"\x80\x04ccanary"])
def test_c49_bytes_that_do_not_parse_are_an_invalid_argument(kind, raw):
    def behaviour(request, context):
        for _ in request if kind.startswith("stream") else [request]:
            yield b"reached"

    with serving(behaviour) as channel:
        assert refusal(channel, kind, raw).code() is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("kind", KINDS)
def test_a_role_outside_the_table_is_refused_before_the_servicer_or_the_parser(kind):
    reached = threading.Event()

    def behaviour(request, context):
        reached.set()
        yield b""

    with serving(behaviour, allowed=frozenset({Role.OWNER})) as channel:
        assert refusal(channel, kind, b"\xff").code() is Code.PERMISSION_DENIED
    assert not reached.is_set()


def test_a_method_that_nobody_put_in_the_table_is_refused_to_everybody():
    server, port = build_server("127.0.0.1:0", tls=None, access={})
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test.Service", {"unary_unary": handler}),)
    )
    server.start()
    for role in Role:
        claim = Identity(role, role.value)
        address = f"127.0.0.1:{port}"
        with open_channel(address, server=Role.PARTY0, tls=None, claim=claim) as channel:
            assert refusal(channel, "unary_unary").code() is Code.PERMISSION_DENIED
            with pytest.raises(grpc.RpcError) as unknown:
                channel.unary_unary("/test.Service/absent")(b"", timeout=20)
            assert unknown.value.code() is Code.UNIMPLEMENTED
    server.stop(None).wait()


class CatchAll(grpc.GenericRpcHandler):
    """Handles every method there could be."""

    def service(self, handler_call_details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"reached")


def test_w13_methods_that_callers_make_up_have_one_name_and_nothing_is_kept_of_them(caplog):
    told = set()
    server, port = build_server(
        "127.0.0.1:0", tls=None, access={}, ended=lambda method, *_: told.add(method)
    )
    server.add_generic_rpc_handlers((CatchAll(),))
    server.start()
    address = f"127.0.0.1:{port}"
    with open_channel(address, server=Role.PARTY0, tls=None, claim=CLAIM) as channel:
        for number in range(10):
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(f"/{CANARY}.S/{number}")(b"", timeout=20)
            assert refused.value.code() is Code.PERMISSION_DENIED
    server.stop(None).wait()
    assert len(told) == 1 and CANARY not in f"{told}{caplog.text}"


@pytest.mark.parametrize("role", ["", "root", "client/x", "CLIENT"])
def test_a_claim_that_is_no_role_is_refused(role):
    server, port = build_server("127.0.0.1:0", tls=None, access={"/t.S/u": frozenset(Role)})
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.S", {"u": handler}),))
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        metadata = [("privedge-role", role), ("privedge-name", "x")]
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary("/t.S/u")(b"", timeout=20, metadata=metadata)
        assert error.value.code() is Code.PERMISSION_DENIED
    server.stop(None).wait()


class Waiting(logging.Handler):
    """Says when the record it waits for was logged."""

    def __init__(self, text):
        super().__init__()
        self.text, self.seen = text, threading.Event()

    def emit(self, record):
        if self.text in record.getMessage():
            self.seen.set()


@pytest.mark.parametrize("kind", ["stream_unary", "stream_stream"])
@pytest.mark.parametrize("then", ["goes on reading", "fails"])
def test_a_client_that_cancels_is_not_taken_for_a_bug(kind, then, caplog):
    caplog.set_level(logging.INFO)
    waiting, entered = Waiting("abandoned by its caller"), threading.Event()
    logging.getLogger("privedge.rpc.gate").addHandler(waiting)
    requests = queue.SimpleQueue()

    def behaviour(request, context):
        gone = threading.Event()
        context.add_callback(gone.set)
        entered.set()
        gone.wait(20)
        if then == "fails":
            raise ValueError(CANARY)
        yield from request

    try:
        with serving(behaviour) as channel:
            stub = getattr(channel, kind)(f"/test.Service/{kind}")
            stream = iter(requests.get, None)
            call = stub(stream) if kind == "stream_stream" else stub.future(stream)
            assert entered.wait(20)
            call.cancel()
            assert waiting.seen.wait(20)
            requests.put(None)
    finally:
        logging.getLogger("privedge.rpc.gate").removeHandler(waiting)
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_a_response_stream_that_nobody_reads_any_more_is_closed():
    closed = threading.Event()

    def behaviour(request, context):
        try:
            while True:
                yield b"x" * 1000
        finally:
            closed.set()

    with serving(behaviour) as channel:
        stream = channel.unary_stream("/test.Service/unary_stream")(b"", timeout=20)
        next(stream)
        stream.cancel()
        assert closed.wait(20)


def test_c17_what_is_too_large_is_refused_unpacked_or_not_and_the_server_goes_on():
    def behaviour(request, context):
        yield b"fine"

    server, port = build_server("127.0.0.1:0", tls=None, access={"/t.S/u": frozenset(Role)})
    handler = handlers(behaviour)["unary_unary"]
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.S", {"u": handler}),))
    server.start()
    claim = [("privedge-role", "client"), ("privedge-name", "ward")]
    # A channel of gRPC's own: ours would not even send these.
    options = [("grpc.max_send_message_length", -1), ("grpc.max_metadata_size", 1 << 20)]
    zeros = b"\0" * (16 << 20)
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        ask = channel.unary_unary("/t.S/u")
        for raw, more in (
            (zeros, {"metadata": claim}),
            (zeros, {"metadata": claim, "compression": grpc.Compression.Gzip}),
            (b"", {"metadata": [*claim, ("x", "y" * 20_000)]}),
        ):
            with pytest.raises(grpc.RpcError) as error:
                ask(raw, timeout=20, **more)
            assert error.value.code() is Code.RESOURCE_EXHAUSTED
        assert ask(b"", timeout=20, metadata=claim) == b"fine"
    server.stop(None).wait()


def test_w15_a_call_beyond_its_callers_places_is_refused_with_the_time_to_come_again():
    entered, go_on = threading.Event(), threading.Event()

    def behaviour(request, context):
        entered.set()
        go_on.wait(20)
        yield b"fine"

    quotas = {"/test.Service/unary_unary": Quota("few", at_once=8, per_caller=1)}
    with serving(behaviour, quotas=quotas) as channel:
        first = channel.unary_unary("/test.Service/unary_unary").future(b"", timeout=20)
        assert entered.wait(20)
        error = refusal(channel, "unary_unary")
        assert (error.code(), error.details()) == STATUS[errors.Busy]
        assert int(dict(error.trailing_metadata())[RETRY_AFTER]) > 0
        busy = from_status(error, "party 0")
        assert isinstance(busy, errors.Busy) and busy.retry_after_s > 0
        go_on.set()
        assert first.result() == b"fine"
        assert call(channel, "unary_unary") == [b"fine"]


def begun(channel, kind, never):
    """A call that was begun and never goes on. On the wire all four kinds look alike."""

    def silence():
        never.wait(60)
        yield from ()

    return channel.stream_stream(f"/test.Service/{kind}")(silence())


@pytest.mark.parametrize("kind", KINDS)
def test_w13_a_call_that_does_not_go_on_is_let_go_whatever_its_kind(kind, monkeypatch):
    monkeypatch.setattr(gate, "FIRST_MESSAGE_S", 0.05)
    never = threading.Event()

    def behaviour(request, context):
        yield from (b"read" for _ in (request if kind.startswith("stream") else [request]))

    with serving(behaviour) as channel:
        assert begun(channel, kind, never).code() is Code.CANCELLED
        assert call(channel, kind) == [b"read"]
        never.set()


@pytest.mark.parametrize("kind", KINDS)
def test_w13_a_call_that_may_not_be_made_takes_no_thread(kind, monkeypatch):
    never, taken = threading.Event(), []
    monkeypatch.setattr(gate.threads, "run", taken.append)
    with serving(lambda request, context: iter(()), allowed=frozenset({Role.OWNER})) as channel:
        calls = [begun(channel, kind, never) for _ in range(30)]
        assert {each.code() for each in calls} == {Code.PERMISSION_DENIED}
        assert taken == []
        never.set()


@pytest.mark.parametrize("kind", KINDS)
def test_w13_a_call_is_cancelled_when_its_time_is_up(kind):
    quotas = {f"/test.Service/{kind}": Quota("short", 8, 4, longest_s=0.05)}
    ended = threading.Event()

    def behaviour(request, context):
        gone = threading.Event()
        if context.add_callback(gone.set):
            gone.wait(60)
        ended.set()
        yield b"late"

    with serving(behaviour, quotas=quotas) as channel:
        assert refusal(channel, kind).code() is Code.CANCELLED
        assert ended.wait(20)


def test_w13_a_flood_of_refusals_is_answered_and_not_written_down(caplog):
    with serving(lambda request, context: iter(()), allowed=frozenset()) as channel:
        stub = channel.unary_unary("/test.Service/unary_unary")
        calls = [stub.future(b"", timeout=20) for _ in range(90)]
        assert {each.code() for each in calls} == {Code.PERMISSION_DENIED}
    assert 0 < len([r for r in caplog.records if "refused" in r.getMessage()]) < 90


def test_w13_without_another_thread_a_call_is_refused_and_its_place_is_free(monkeypatch):
    def none_left(work):
        raise RuntimeError("can't start new thread")

    quotas = {"/test.Service/unary_unary": Quota("one", 2, 1)}
    with serving(lambda request, context: iter([b"fine"]), quotas=quotas) as channel:
        with monkeypatch.context() as patched:
            patched.setattr(gate.threads, "run", none_left)
            assert refusal(channel, "unary_unary").code() is Code.RESOURCE_EXHAUSTED
        assert call(channel, "unary_unary") == [b"fine"]


def fails(*_):
    raise ValueError(CANARY)


class FailingWitness(Witness):
    refused = admin_called = fails


@pytest.mark.parametrize("role", [Role.CLIENT, Role.ADMIN, Role.OWNER])
def test_w13_whoever_is_told_of_calls_and_fails_costs_no_call_place_or_thread(role, caplog):
    quotas = {"/test.Service/unary_unary": Quota("one", 2, 1)}
    allowed = frozenset({Role.CLIENT, Role.ADMIN})
    told = {"witness": FailingWitness(), "ended": fails, "quotas": quotas}
    claim = Identity(role, "kim")
    with serving(lambda *_: iter([b"fine"]), allowed=allowed, claim=claim, **told) as channel:
        for _ in range(4):
            if role in allowed:
                assert call(channel, "unary_unary") == [b"fine"]
            else:
                assert refusal(channel, "unary_unary").code() is Code.PERMISSION_DENIED
            with threads._changed:
                assert threads._changed.wait_for(lambda: not threads._busy, 20)
    assert "ValueError" in caplog.text and CANARY not in caplog.text


def test_w13_a_call_that_fails_before_it_has_a_thread_gives_its_place_back(monkeypatch):
    quotas = {"/test.Service/unary_unary": Quota("one", 2, 1)}
    with serving(lambda *_: iter([b"fine"]), quotas=quotas) as channel:
        with monkeypatch.context() as patched:
            patched.setattr(gate, "let_in", fails)
            assert refusal(channel, "unary_unary").code() is Code.INTERNAL
        assert call(channel, "unary_unary") == [b"fine"]


def test_a_port_in_use_is_one_line_that_names_it():
    server, port = build_server("127.0.0.1:0", tls=None, access={})
    with pytest.raises(ConfigError, match=rf"^127\.0\.0\.1:{port}: cannot listen there") as refused:
        build_server(f"127.0.0.1:{port}", tls=None, access={})
    assert "\n" not in str(refused.value)
    server.stop(None).wait()


OPEN = ["0.0.0.0:1", "[::]:1", "192.168.0.1:1", "localhost:1", "example.org:1", "127.0.0.1"]
TRICKS = ["127.0.0.1.evil.org:1", "dns:///127.0.0.1:1", "ipv4:10.0.0.1:1", "unix:x", "", ":1"]


@pytest.mark.parametrize("address", OPEN + TRICKS)
def test_without_tls_nothing_but_loopback_is_dialled_or_listened_to(address):
    with pytest.raises(ConfigError, match="only a loopback address"):
        build_server(address, tls=None, access={})
    with pytest.raises(ConfigError, match="only a loopback address"):
        open_channel(address, server=Role.PARTY0, tls=None, claim=CLAIM)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.8.9.1:65535", "[::1]:80", "unix:/run/x"])
def test_loopback_addresses_need_no_tls(address):
    loopback.require(address)


def test_without_tls_somebody_must_be_named():
    with pytest.raises(ConfigError, match="a role and a name must be given"):
        open_channel("127.0.0.1:1", server=Role.PARTY0, tls=None)


@contextmanager
def serving_on_a_socket(tmp_path, behaviour):
    access = {"/test.Service/unary_unary": frozenset({Role.PARTY0})}
    address = f"unix:{tmp_path}/worker"
    server, _ = build_server(address, tls=None, access=access)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test.Service", handlers(behaviour)),)
    )
    server.start()
    claim = Identity(Role.PARTY0, "party0")
    with open_channel(address, server=Role.PARTY0, tls=None, claim=claim) as channel:
        yield channel
    server.stop(None).wait()


def test_a_unix_socket_serves_like_a_port(tmp_path):
    def behaviour(request, context):
        if request.cohort:
            raise ShareError("no cohort here")
        yield caller(context).uri.encode()

    with serving_on_a_socket(tmp_path, behaviour) as channel:
        assert call(channel, "unary_unary") == [b"spiffe://privedge/party0/party0"]
        error = refusal(
            channel, "unary_unary", pb.ListModelsRequest(cohort="x").SerializeToString()
        )
        assert isinstance(from_status(error, "the worker"), ShareError)


def test_messages_are_limited_on_ports_and_not_between_a_front_end_and_its_worker(tmp_path):
    def behaviour(request, context):
        yield request.cohort.encode() * 2

    large = pb.ListModelsRequest(cohort="x" * MAX_MESSAGE_BYTES).SerializeToString()
    with serving_on_a_socket(tmp_path, behaviour) as channel:
        (answer,) = call(channel, "unary_unary", large)
        assert answer == b"x" * 2 * MAX_MESSAGE_BYTES
    with serving(behaviour) as channel:
        assert refusal(channel, "unary_unary", large).code() is Code.RESOURCE_EXHAUSTED


class Context:
    """What `Callers.identify` looks at."""

    def __init__(self, **facts):
        self._facts = facts

    def auth_context(self):
        return {key: [entry.encode() for entry in value] for key, value in self._facts.items()}

    def invocation_metadata(self):
        return [("privedge-role", "admin"), ("privedge-name", "a")]


URI = ["spiffe://privedge/owner/ana"]
FILES = TlsFiles(ca=Path("ca.crt"), certificate=Path("party0.crt"), key=Path("party0.key"))


def identified(tls=FILES, **facts):
    return Callers(tls, CallerRules()).identify(Context(**facts)).who


def test_c06_over_tls_the_certificate_counts_and_never_the_claim():
    facts = {"transport_security_type": ["ssl"], "ssl_tls_version": ["TLSv1.3"]}
    assert identified(**facts, peer_uri=URI) == Identity(Role.OWNER, "ana")
    for uris in ([], [*URI, "spiffe://privedge/admin/a"], ["https://privedge/owner/ana"], ["é"]):
        with pytest.raises(NotAllowed):
            identified(**facts, peer_uri=uris)


def test_a_connection_older_than_tls_1_3_has_no_caller():
    facts = {"transport_security_type": ["ssl"], "ssl_tls_version": ["TLSv1.2"]}
    with pytest.raises(NotAllowed, match=r"not TLS 1\.3"):
        identified(**facts, peer_uri=URI)


@pytest.mark.parametrize("facts", [{}, {"transport_security_type": ["insecure"]}])
def test_a_claim_counts_only_where_the_server_has_no_certificate(facts):
    assert identified(None, **facts) == Identity(Role.ADMIN, "a")
    with pytest.raises(NotAllowed, match="no TLS"):
        identified(**facts)


def test_a_servicer_behind_no_gate_has_no_caller():
    facts = {"transport_security_type": ["ssl"], "ssl_tls_version": ["TLSv1.3"]}
    with pytest.raises(NotAllowed, match="no gate"):
        caller(Context(**facts, peer_uri=URI))


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_of_every_call_is_told_once(kind):
    ends = queue.SimpleQueue()

    def behaviour(request, context):
        if caller(context).name == "late":
            raise errors.DiskFull("full")
        if caller(context).name == "wrong":
            raise ValueError(CANARY)
        yield b"1"

    def told(*end):
        ends.put(end)

    def ended(name, allowed=frozenset(Role), quotas=None):
        claim = Identity(Role.CLIENT, name)
        with serving(behaviour, allowed=allowed, quotas=quotas, claim=claim, ended=told) as channel:
            with suppress(grpc.RpcError):
                call(channel, kind)
            found = ends.get(timeout=20)
        assert ends.empty()
        return found

    method, none = f"/test.Service/{kind}", {f"/test.Service/{kind}": Quota("few", 1, 0)}
    assert ended("ward") == (method, "OK", "", "clients")
    assert ended("late") == (method, "RESOURCE_EXHAUSTED", "DiskFull", "clients")
    assert ended("wrong") == (method, "INTERNAL", "Exception", "clients")
    assert ended("ward", frozenset()) == (method, "PERMISSION_DENIED", "NotAllowed", "")
    assert ended("ward", quotas=none) == (method, "RESOURCE_EXHAUSTED", "Busy", "few")


def test_a_call_that_its_caller_leaves_is_told_as_cancelled():
    ends, begun, left = queue.SimpleQueue(), threading.Event(), threading.Event()

    def behaviour(request, context):
        context.add_callback(left.set)
        begun.set()
        left.wait(20)
        yield b"1"

    with serving(behaviour, ended=lambda *end: ends.put(end)) as channel:
        running = channel.unary_unary("/test.Service/unary_unary").future(b"", timeout=20)
        assert begun.wait(20)
        running.cancel()
        assert ends.get(timeout=20)[1] == "CANCELLED"


@pytest.fixture
def ids_of_lines(caplog):
    """The ids with which each line is logged."""
    seen = []

    def look(record):
        seen.append(log.request_ids())
        return True

    caplog.handler.addFilter(look)
    yield seen
    caplog.handler.removeFilter(look)


IDS = ("a" * 32, "b" * 32)


def failing(request, context):
    raise ShareError("bad")
    yield


@pytest.mark.parametrize("allowed", [frozenset(Role), frozenset()], ids=["failed", "refused"])
@pytest.mark.parametrize(
    ("claim", "counts"), [(Identity(Role.PARTY0, "party0"), IDS), (CLAIM, IDS[:1])]
)
def test_a_line_about_a_query_carries_its_id(allowed, claim, counts, ids_of_lines):
    with serving(failing, allowed=allowed, claim=claim) as channel:
        refusal(channel, "unary_unary", metadata=request_id.metadata(IDS))
        refusal(channel, "unary_unary", metadata=((request_id.KEY, "mallory"),))
    assert ids_of_lines == [counts, ()]


def test_w13_what_a_caller_that_is_not_let_in_sends_is_not_logged(ids_of_lines):
    admin, rules = Identity(Role.ADMIN, "mallory"), CallerRules(frozenset())
    with serving(failing, claim=admin, rules=rules) as channel:
        assert refusal(channel, "unary_unary", metadata=request_id.metadata(IDS)).code() is (
            Code.PERMISSION_DENIED
        )
    assert ids_of_lines == [()]
