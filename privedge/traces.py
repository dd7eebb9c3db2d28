"""Spans of OpenTelemetry, in processes whose configuration asks for them. Off by default, and free.

A span says when a step of a query began and ended, and of what size it was: never a value, a share,
a label, or the name of a person. Processes connect their spans by W3C Trace Context in the metadata
of gRPC calls. OpenTelemetry is an extra (`privedge[otel]`) and is imported by `start` only.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from privedge import extras
from privedge.config import TracesSection
from privedge.identity.roles import Role

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

KEY = "traceparent"
_TRACEPARENT = re.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
# Under this name, a context of OpenTelemetry holds the span of a caller that is no server.
_CALLER = "privedge caller"

Metadata = tuple[tuple[str, str], ...]


class _Started:
    """What `start` made; None in a process without traces."""

    tracer: "Tracer | None" = None


def start(process: str, settings: TracesSection) -> None:
    """Begin to send spans if `settings` say where, for as long as the process lives.

    `process`: "party 0", "client". Raises MissingExtra without OpenTelemetry.
    """
    if settings.endpoint is None or _Started.tracer is not None:
        return
    extras.require(("opentelemetry",), "[traces] needs", extras.FOR_TRACES)
    from privedge.trace_export import tracer

    _Started.tracer = tracer(process, settings.endpoint, settings.share)


def on() -> bool:
    """Return whether this process sends spans."""
    return _Started.tracer is not None


@contextmanager
def span(
    name: str, parents: Sequence[Any] = (), *, root: bool = True, **attributes: str | int | float
) -> Iterator[None]:
    """Make the block a span, within that of this thread or, if there are `parents`, within the
    first; the others are linked, for one run may serve several queries. A span within no other is
    linked to that of the caller (`continued`).

    With `root` false there is none unless it is within another. An exception that ends the block is
    recorded by its type only, because its text could name somebody.
    """
    tracer = _Started.tracer
    if tracer is None:
        yield
        return
    from opentelemetry import context, trace

    if not root and not trace.get_current_span().get_span_context().is_valid:
        yield
        return
    others = [trace.get_current_span(each).get_span_context() for each in parents[1:]]
    if not parents and not trace.get_current_span().get_span_context().is_valid:
        caller: Any = context.get_value(_CALLER)
        others += [caller] if caller is not None else []
    with tracer.start_as_current_span(
        name,
        context=parents[0] if parents else None,
        attributes=attributes,
        links=[trace.Link(each) for each in others],
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield
        except Exception as error:
            current.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


def here() -> Any:
    """Return the place of this thread among the spans, for `parents`; None without traces."""
    if _Started.tracer is None:
        return None
    from opentelemetry import context

    return context.get_current()


def passed_on() -> Metadata:
    """Return what to send with a call, so that the other side's spans are within this one."""
    if _Started.tracer is None:
        return ()
    from opentelemetry import trace

    found = trace.get_current_span().get_span_context()
    if not found.is_valid:
        return ()
    return ((KEY, f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"),)


@contextmanager
def continued(metadata: Any, role: Role) -> Iterator[None]:
    """In the block, spans are connected with the one that a caller of this role has sent in the
    metadata of its call: within that of a server, and only linked to that of anyone else. Whoever
    chooses the id of a trace chooses whether it is recorded, and where it is found.
    """
    if _Started.tracer is None:
        yield
        return
    from opentelemetry import context, trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    said = [value for key, value in metadata or () if key == KEY and isinstance(value, str)]
    if not said or not _TRACEPARENT.fullmatch(said[0]):
        yield
        return
    found = TraceContextTextMapPropagator().extract({KEY: said[0]})
    if not role.serves:
        theirs = trace.get_current_span(found).get_span_context()
        found = context.set_value(_CALLER, theirs if theirs.is_valid else None)
    token = context.attach(found)
    try:
        yield
    finally:
        context.detach(token)
