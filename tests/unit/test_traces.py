"""privedge/traces.py: spans that connect, and what is never part of one."""

import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from privedge import traces
from privedge.config import TracesSection
from privedge.errors import MissingExtra

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
    with traces.continued([(traces.KEY, PARENT)]), traces.span("a", cohort="faces"):
        assert traces.passed_on() == ()
        assert traces.here() is None


def test_without_opentelemetry_the_extra_is_named(monkeypatch):
    traces.start("client", TracesSection())
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtra, match=r"privedge\[otel\]"):
        traces.start("client", TracesSection(endpoint="http://127.0.0.1:1/v1/traces"))


def test_a_span_is_within_that_of_the_caller(spans):
    with traces.continued([("other", "x"), (traces.KEY, PARENT)]), traces.span("a"):
        ((key, sent),) = traces.passed_on()
    (span,) = spans()
    assert (key, sent[:36]) == ("traceparent", PARENT[:36])
    assert (
        f"{span.context.span_id:016x}" == sent[36:52] and span.parent.span_id == 0xB7AD6B7169203331
    )


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
    with traces.continued([(traces.KEY, value)]), traces.span("a"):
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
