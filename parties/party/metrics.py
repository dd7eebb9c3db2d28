"""What Prometheus reads of a party beside what every server gives: queries, pools, models, workers.

A worker has no port of its own: its front end says what it knows of it, and what the system does.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prometheus_client import Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from parties.party.models.cohorts import Cohort
from parties.party.models.holdings import Holdings
from parties.party.models.service import ModelService
from parties.party.queries.intake import Intake
from parties.party.queries.service import QueryService
from parties.party.upkeep.telemetry import histograms, share_below
from parties.party.workers.processes import WorkerPool
from parties.party.workers.snapshot_feed import SnapshotFeed
from parties.serving.metrics import Metrics
from parties.serving.processes import threads_of
from privedge.errors import ConfigError
from privedge.sharing.cost import Cost

_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@dataclass(frozen=True)
class Watched:
    """The parts of a party that its metrics look at. `connected`: to each other server, or not."""

    models: ModelService
    queries: QueryService
    intake: Intake
    pool: WorkerPool
    feeds: Sequence[SnapshotFeed]
    connected: Mapping[str, Callable[[], bool]]


class PartyMetrics:
    """The metrics of one party."""

    def __init__(self, metrics: Metrics, state: Path) -> None:
        """`state`: the party's folder, with its workers' histograms."""
        self._metrics = metrics
        self._state = state
        self._online = Histogram(
            "privedge_query_online_seconds",
            "From when both parties held a query until its answer share was computed.",
            ["cohort"],
            buckets=_SECONDS,
            registry=metrics.registry,
        )
        self._queue = Histogram(
            "privedge_query_queue_seconds",
            "From when a query was here in full until its run began.",
            ["cohort"],
            buckets=_SECONDS,
            registry=metrics.registry,
        )

    def measured(self, cohort: str, cost: Cost) -> None:
        """Count one query that was answered."""
        self._online.labels(cohort).observe(cost.online_s)
        self._queue.labels(cohort).observe(cost.queue_s)

    def watch(self, parts: Watched) -> None:
        """Give what these parts say whenever somebody asks."""
        read = self._metrics.read
        read("queries", lambda: _queries(parts))
        read("unaudited", lambda: [_unaudited(parts)])
        read("models", lambda: _models(parts.models.holdings))
        read("uploads", lambda: [_uploaded(parts.models)])
        read("disk", lambda: _disk(parts.models.holdings))
        read("connections", lambda: [_connected(parts.connected)])
        read("bundles", lambda: _bundles(parts.feeds))
        read("workers", lambda: _workers(parts.pool))
        read("scores", lambda: _scores(parts.models.cohorts, self._state))
        read("worker processes", lambda: _processes(parts.pool))


def _queries(parts: Watched) -> Iterator[Metric]:
    counters = parts.queries.counters()
    waiting = max(0, parts.intake.here - counters.running)
    yield GaugeMetricFamily("privedge_queries_running", "That a worker has.", counters.running)
    yield GaugeMetricFamily(
        "privedge_queries_waiting", "That are being received, or wait for a run.", waiting
    )
    yield CounterMetricFamily("privedge_runs", "Runs that gave an answer.", counters.runs)
    yield CounterMetricFamily(
        "privedge_query_received_bytes", "Shares of images.", counters.bytes_received
    )


def _unaudited(parts: Watched) -> Metric:
    runs = CounterMetricFamily(
        "privedge_runs_unaudited",
        "Runs without an audited bundle, answered or refused.",
        labels=["cohort"],
    )
    counted = parts.queries.unaudited.runs()
    for cohort in parts.models.cohorts:
        runs.add_metric([cohort], counted.get(cohort, 0))
    return runs


def _scores(cohorts: Mapping[str, Cohort], state: Path) -> Iterator[Metric]:
    """The last histogram of each cohort with telemetry: what part of the answers would be known at
    which margin. It has noise, so a part may be below 0 or above 1.
    """
    below = GaugeMetricFamily(
        "privedge_score_below", "Part of scores below `margin`.", labels=["cohort", "margin"]
    )
    counted = GaugeMetricFamily("privedge_score_answers", "Counted in it.", labels=["cohort"])
    for cohort in cohorts.values():
        with suppress(ConfigError):  # none yet
            last = histograms(state, cohort.name)[-1] if cohort.telemetry else None
            if last is not None:
                counted.add_metric([cohort.name], last["answers"])
                for end, part in share_below(last):
                    below.add_metric([cohort.name, f"{end:.3f}"], part)
    yield from (below, counted)


def _uploaded(models: ModelService) -> Metric:
    return CounterMetricFamily(
        "privedge_upload_received_bytes", "Shares of models.", models.upload_bytes
    )


def _models(holdings: Holdings) -> Iterator[Metric]:
    found = GaugeMetricFamily("privedge_models", "Models by state.", labels=["cohort", "state"])
    for (cohort, state), count in holdings.models().items():
        found.add_metric([cohort, state], count)
    yield found


def _disk(holdings: Holdings) -> Iterator[Metric]:
    space, (files, held) = holdings.space(), holdings.trash()
    for name, what, value in (
        ("disk_free_bytes", "Free on the disk of `state`.", space.free),
        ("disk_size_bytes", "Size of that disk.", space.size),
        ("disk_kept_free_bytes", "What uploads must leave free.", space.kept_free),
        ("disk_reserve_bytes", "The reserve; 0 once it is given up.", space.reserve),
        ("trash_files", "Share files in the trash.", files),
        ("trash_bytes", "Their size.", held),
    ):
        yield GaugeMetricFamily(f"privedge_{name}", what, value)


def _connected(servers: Mapping[str, Callable[[], bool]]) -> Metric:
    found = GaugeMetricFamily(
        "privedge_connected", "Whether another server is connected.", labels=["server"]
    )
    for server, is_connected in servers.items():
        found.add_metric([server], is_connected())
    return found


def _bundles(feeds: Sequence[SnapshotFeed]) -> Iterator[Metric]:
    labels = ["worker", "cohort", "images"]
    ready = GaugeMetricFamily("privedge_bundles_ready", "Ready for runs.", labels=labels)
    wanted = GaugeMetricFamily("privedge_bundles_wanted", "Wanted for runs.", labels=labels)
    for slot, feed in enumerate(feeds):
        for level in feed.levels:
            values = [str(slot), level.cohort, str(level.batch)]
            ready.add_metric(values, level.ready)
            wanted.add_metric(values, level.wanted)
    yield from (ready, wanted)


def _workers(pool: WorkerPool) -> Iterator[Metric]:
    labels = ["worker"]
    serves = GaugeMetricFamily("privedge_worker_serves", "Whether it serves.", labels=labels)
    silent = GaugeMetricFamily(
        "privedge_worker_heartbeat_age_seconds", "Since its last sign of life.", labels=labels
    )
    restarts = CounterMetricFamily(
        "privedge_worker_restarts", "Processes that took another's place.", labels=labels
    )
    for worker in pool.workers:
        slot = [str(worker.slot)]
        serves.add_metric(slot, worker.serves)
        silent.add_metric(slot, worker.silent_s)
        restarts.add_metric(slot, worker.restarts)
    yield from (serves, silent, restarts)


def _processes(pool: WorkerPool) -> Iterator[Metric]:
    """What prometheus-client says of this process, of each worker's."""
    labels = ["worker"]
    families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {
        "process_resident_memory_bytes": GaugeMetricFamily(
            "privedge_worker_resident_memory_bytes", "Memory.", labels=labels
        ),
        "process_open_fds": GaugeMetricFamily(
            "privedge_worker_open_fds", "Open file descriptors.", labels=labels
        ),
        "process_cpu_seconds": CounterMetricFamily(
            "privedge_worker_cpu_seconds", "Of a process; starts over with it.", labels=labels
        ),
    }
    threads = GaugeMetricFamily("privedge_worker_threads", "Threads.", labels=labels)
    for worker in pool.workers:
        slot, pid = [str(worker.slot)], worker.pid
        for said in ProcessCollector(pid=partial(str, pid), registry=None).collect():
            if said.name in families:
                families[said.name].add_metric(slot, said.samples[0].value)
        with suppress(OSError):  # it has just died
            threads.add_metric(slot, threads_of(pid))
    yield from (*families.values(), threads)
