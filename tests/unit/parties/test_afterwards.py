"""A caller has its result while the work goes on, over real gRPC calls."""

import threading
from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest

from parties.worker.afterwards import released
from privedge import log
from privedge.errors import PrivEdgeError, Unreachable

PATIENCE_S = 30
METHOD = "/test/Do"
ID = "ab" * 16


@pytest.fixture
def served() -> Iterator:
    """served(work) lets a server do `work(release)` in a call, and returns what the call gives."""
    jobs: list = []

    def handle(request: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            with log.about([ID]):
                return released(jobs[-1], context)
        except PrivEdgeError as error:
            return b"refused: " + str(error).encode()

    handler = grpc.unary_unary_rpc_method_handler(handle)
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test", {"Do": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(METHOD)

        def do(work) -> bytes:
            jobs.append(work)
            return call(b"", timeout=PATIENCE_S)

        yield do
    server.stop(None).wait()


def test_the_result_comes_before_the_work_has_ended(served):
    go_on, ended = threading.Event(), threading.Event()

    def work(release) -> None:
        release(b"result")
        assert go_on.wait(PATIENCE_S)
        ended.set()

    assert served(work) == b"result"
    assert not ended.is_set()
    go_on.set()
    assert ended.wait(PATIENCE_S)


def test_what_fails_before_the_result_fails_the_call(served):
    def work(release) -> None:
        raise Unreachable("the other worker left")

    assert served(work) == b"refused: the other worker left"
    assert served(lambda release: None) == b"refused: the work ended without a result"


def test_what_fails_after_the_result_is_logged_without_its_text(served, caplog):
    def work(release) -> None:
        release(b"result")
        raise ValueError("a share: 123")

    assert served(work) == b"result"
    for thread in threading.enumerate():
        if thread.name == "run":
            thread.join(PATIENCE_S)
    assert caplog.messages == ["after the answer: ValueError"]


def test_the_work_keeps_the_ids_of_its_queries(served):
    """The handler runs in the server's own thread, so the ids are set there."""

    def work(release) -> None:
        release(",".join(log.request_ids()).encode())

    assert served(work) == ID.encode()
