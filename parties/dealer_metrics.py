"""What Prometheus reads of the dealer beside what every server gives: sessions and tuples."""

from collections.abc import Callable

from prometheus_client import Counter, Gauge

from parties.serving.metrics import Metrics


class DealerMetrics:
    """The dealer's own metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._tuples = Counter(
            "privedge_dealer_tuples",
            "Corrections of tuples that were dealt, by kind (dealer.proto).",
            ["kind"],
            registry=metrics.registry,
        )
        self._bytes = Counter(
            "privedge_dealer_sent_bytes", "Their size.", registry=metrics.registry
        )
        self._sessions = Gauge(
            "privedge_dealer_sessions", "Sessions that run.", registry=metrics.registry
        )

    def watch(self, running: Callable[[], int]) -> None:
        """`running` says how many sessions run now."""
        self._sessions.set_function(running)

    def dealt(self, kind: str, size: int) -> None:
        """Count one correction of `size` bytes."""
        self._tuples.labels(kind).inc()
        self._bytes.inc(size)
