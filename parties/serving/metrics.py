"""What Prometheus reads of every server: calls, refusals, causes, certificates, the process.

No label names a person or a model, and none comes from outside: all values of labels are words of
this code, of the configuration (cohorts), or numbers of workers. So there are only so many series,
whoever calls.
"""

import datetime
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from parties.config.server import ServerConfig
from parties.serving import lifetime
from parties.serving.handshake_log import failed_handshakes
from parties.serving.metrics_port import MetricsPort
from parties.serving.processes import threads_of
from parties.serving.readiness import Readiness
from privedge import __version__
from privedge.rpc.callers import utc_now
from privedge.rpc.versions import MPC, WIRE

log = logging.getLogger(__name__)

Read = Callable[[], Iterable[Metric]]


class Metrics:
    """The metrics of one server. Counting costs a microsecond, whether or not anybody reads."""

    def __init__(self, server: str, config: ServerConfig) -> None:
        """`server`: "party 0", "dealer"."""
        self.registry = CollectorRegistry(auto_describe=False)
        self._config = config
        self._calls = Counter(
            "privedge_calls",
            "Calls that ended, by gRPC's code.",
            ["service", "method", "code"],
            registry=self.registry,
        )
        self._refusals = Counter(
            "privedge_refusals",
            "Calls that ended with an error, by its kind (docs/reference/errors.md) and the places "
            "for which they counted.",
            ["cause", "places"],
            registry=self.registry,
        )
        build = Info("privedge_build", "What this server runs.", registry=self.registry)
        build.info({"server": server, "release": __version__, "wire": str(WIRE), "mpc": str(MPC)})
        ProcessCollector(registry=self.registry)
        self.read("process", lambda: [_gauge("privedge_threads", "Threads.", threads_of("self"))])
        self.read("handshakes", _handshakes)
        self.read("certificates", self._certificates)

    def call_ended(self, method: str, code: str, cause: str, places: str) -> None:
        """Count one call: rpc/gate.py, Ended."""
        service, _, name = method.removeprefix("/").rpartition("/")
        self._calls.labels(service, name, code).inc()
        if cause:
            self._refusals.labels(cause, places).inc()

    def read(self, what: str, read: Read) -> None:
        """Let `read` give further metrics whenever they are asked for."""
        self.registry.register(_Readings(what, read))

    def read_readiness(self, readiness: Readiness) -> None:
        """Give every cause of `readiness`, and whether the server can serve."""

        def read() -> Iterator[Metric]:
            yield _gauge("privedge_serving", "Whether this server can serve.", readiness.serves)
            wrong = GaugeMetricFamily(
                "privedge_fault", "Whether something is wrong with this cause.", labels=["cause"]
            )
            for cause, is_wrong in readiness.wrong.items():
                wrong.add_metric([cause], is_wrong)
            yield wrong

        self.read("readiness", read)

    @contextmanager
    def served(self) -> Iterator[None]:
        """Let Prometheus read them during the block, if this server's file says where.

        Enter it before gRPC listens: a server that cannot start must not take calls first.

        Raises ConfigError if the port cannot be used.
        """
        config = self._config
        if config.metrics.listen is None:
            yield
            return
        rules = config.metrics_rules
        with MetricsPort(config.metrics.listen, self.registry, config.tls, rules):
            yield

    def _certificates(self) -> Iterator[Metric]:
        left = GaugeMetricFamily(
            "privedge_certificate_remaining_seconds",
            "Seconds until a certificate file of this server is of no more use.",
            labels=["file"],
        )
        now = utc_now()
        for file, end in lifetime.ends(self._config.tls).items():
            if end is not None:
                left.add_metric([file], (end - now) / datetime.timedelta(seconds=1))
        yield left


class _Readings(Collector):
    """Metrics that are read when they are asked for. If that fails, the others are still served."""

    def __init__(self, what: str, read: Read) -> None:
        self._what, self._read = what, read

    def collect(self) -> Iterable[Metric]:
        try:
            return list(self._read())
        except Exception as error:  # whatever it is, the other metrics must be served
            log.warning("metrics: %s cannot be read: %s", self._what, type(error).__name__)
            return []


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value=value)


def _handshakes() -> Iterator[Metric]:
    failed = CounterMetricFamily(
        "privedge_tls_handshakes_failed",
        "TLS handshakes of others with this server that failed.",
        labels=["cause"],
    )
    for cause, count in failed_handshakes().items():
        failed.add_metric([cause], count)
    yield failed
