"""How spans leave this process. Imported by traces.start only: it needs OpenTelemetry.

A collector that is away, or takes a connection and says nothing, must not hold up the end of a
process. What OpenTelemetry logs of it would name the whole URL, in which there may be a token.
"""

import atexit
import logging
import threading
from collections.abc import Sequence
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import Tracer

from privedge import __version__

log = logging.getLogger(__name__)

# For one batch, and for all that is left when the process ends.
_EXPORT_S = 5.0
_ENDING_S = 2.0


def tracer(process: str, endpoint: str, share: float) -> Tracer:
    """Return what makes spans and sends them to `endpoint`, until this process ends."""
    # By the id of the trace alone, which no client chooses: traces.continued.
    provider = TracerProvider(
        TraceIdRatioBased(share),
        Resource.create({"service.name": f"privedge {process}"}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(_Told(endpoint)))
    _at_exit(provider)
    return provider.get_tracer("privedge", __version__)


def _at_exit(provider: TracerProvider) -> None:
    """Send what is left when the process ends, but do not let it wait for long."""
    ends = threading.Event()

    def shut_down() -> None:
        ends.wait()
        provider.shutdown()

    # Started now: while the interpreter ends, no thread can be.
    last = threading.Thread(target=shut_down, name="last spans", daemon=True)
    last.start()

    def end() -> None:
        ends.set()
        last.join(_ENDING_S)

    atexit.register(end)


class _Told(SpanExporter):
    """Sends spans over OTLP, and says in one line when that begins to fail."""

    def __init__(self, endpoint: str) -> None:
        logging.getLogger(trace_exporter.__name__).setLevel(logging.CRITICAL + 1)
        self._exporter = trace_exporter.OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_S)
        self._host = urlsplit(endpoint).netloc.rpartition("@")[2]
        self._fails = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception:  # its text may hold the URL, and OpenTelemetry would log it
            result = SpanExportResult.FAILURE
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self._fails:
            log.warning("traces: %s takes no spans; they are dropped", self._host)
        self._fails = failed
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # theirs has no types
