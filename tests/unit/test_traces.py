"""privedge/traces.py: spans that connect, and what is never part of one."""

import logging
import socket
import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from privedge import trace_export, traces
from privedge.config import TracesSection
from privedge.errors import MissingExtra
from privedge.identity.roles import Role

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch):
    """spans() -> all spans that have ended."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(traces._Started, "tracer", provider.get_tracer("test"))
    yield exporter.get_finished_spans
    provider.shutdown()


def test_without_traces_nothing_is_made_sent_or_read():
    assert not traces.on()
    with traces.continued([(traces.KEY, PARENT)], Role.PARTY0), traces.span("a", cohort="faces"):
        assert traces.passed_on() == ()
        assert traces.here() is None


def test_without_opentelemetry_the_extra_is_named(monkeypatch):
    traces.start("client", TracesSection())
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtra, match=r"privedge\[otel\]"):
        traces.start("client", TracesSection(endpoint="http://127.0.0.1:1/v1/traces"))


def test_a_span_is_within_that_of_a_server_that_calls(spans):
    with traces.continued([("other", "x"), (traces.KEY, PARENT)], Role.PARTY0), traces.span("a"):
        ((key, sent),) = traces.passed_on()
    (span,) = spans()
    assert (key, sent[:36]) == ("traceparent", PARENT[:36])
    assert (
        f"{span.context.span_id:016x}" == sent[36:52] and span.parent.span_id == 0xB7AD6B7169203331
    )


@pytest.mark.parametrize("role", [role for role in Role if not role.serves])
def test_c62_a_caller_that_is_no_server_chooses_no_trace(spans, role):
    with traces.continued([(traces.KEY, PARENT)], role):
        with traces.span("dealer session", root=False):
            assert traces.passed_on() == ()
        with traces.span("a"), traces.span("b"):
            pass
    b, a = spans()
    assert a.parent is None and a.context.trace_id != int(PARENT[3:35], 16)
    assert [link.context.span_id for link in a.links] == [0xB7AD6B7169203331]
    assert b.parent.span_id == a.context.span_id and not b.links


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        PARENT + "0",
        PARENT.upper(),
        "ff" + PARENT[2:],
        PARENT * 900,
        b"\x00",
        PARENT + "\n",
    ],
)
def test_what_is_no_traceparent_is_passed_over(spans, value):
    with traces.continued([(traces.KEY, value)], Role.PARTY0), traces.span("a"):
        pass
    (span,) = spans()
    assert span.parent is None


def test_a_run_of_several_queries_is_linked_to_the_others(spans):
    places = []
    for name in ("first", "second"):
        with traces.span(name):
            places.append(traces.here())
    with traces.span("run", places, queries=2):
        pass
    first, second, run = spans()
    assert run.parent.span_id == first.context.span_id
    assert [link.context.span_id for link in run.links] == [second.context.span_id]
    assert run.attributes == {"queries": 2}


def test_work_for_no_query_is_no_span(spans):
    with traces.span("dealer session", root=False):
        assert traces.passed_on() == ()
    assert not spans()


def test_c62_a_failure_is_told_by_its_type_only(spans):
    with pytest.raises(ValueError), traces.span("a"):
        raise ValueError("ana's secret")
    (span,) = spans()
    assert span.status.description == "ValueError" and not span.events


ENDING = """
import atexit, logging, sys, threading
logging.basicConfig(level="DEBUG")
# Called after what traces.start registers, as atexit goes backwards. A collector that never answers
# must not keep the interpreter from coming here while an export still goes on.
def ends():
    running = [each.name for each in threading.enumerate() if "Otel" in each.name]
    print("still exporting:", len(running))
atexit.register(ends)
from privedge import traces
from privedge.config import TracesSection
traces.start("party 0", TracesSection(endpoint=sys.argv[1]))
for _ in range(600):
    with traces.span("query"):
        pass
"""


def test_c62_a_collector_that_never_answers_does_not_hold_up_the_end_of_a_process():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces"
        ended = subprocess.run(
            [sys.executable, "-c", ENDING, endpoint], capture_output=True, text=True, timeout=60
        )
    assert (ended.returncode, ended.stdout) == (0, "still exporting: 1\n"), ended.stderr


def test_c62_a_failed_export_is_one_line_without_path_or_token(caplog, monkeypatch):
    monkeypatch.setattr(trace_export, "_EXPORT_S", 0.1)
    caplog.set_level(logging.INFO)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    exporter = trace_export._Told(f"http://ana:secret@127.0.0.1:{port}/hidden?token=secret")
    with TracerProvider().get_tracer("test").start_as_current_span("query") as span:
        pass
    for _ in range(2):
        exporter.export([span])
    assert caplog.messages == [f"traces: 127.0.0.1:{port} takes no spans; they are dropped"]
    exporter.shutdown()
