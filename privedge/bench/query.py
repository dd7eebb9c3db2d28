"""What a private query costs: seconds, rounds, bytes by phase, CPU seconds; and is it right?

    1.  make N models and Q + 3 batches of images, and answer them in the clear
    2.  start a deployment, upload the models
    3.  one cold query, two to warm up, then Q that count
    4.  compare every answer with the plaintext fixed-point model's

Sees everything in the clear; all of it is made up (made.py).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from privedge.bench import made, system
from privedge.bench.processes import Processes
from privedge.bench.system import Progress
from privedge.client.query import Client, Reply
from privedge.local.plaintext import PlainModel
from privedge.ran import features
from privedge.sharing.cost import Cost, Phase

# The second query of a kind is the first for which the dealer can work ahead.
_WARM_UP = 2
_SEED = 1


@dataclass(frozen=True)
class Workload:
    """What is asked: `queries` batches of `batch` images against `owners` models of a preset."""

    engine: str
    preset: str
    owners: int
    batch: int
    queries: int


@dataclass(frozen=True)
class PartyCost:
    """One party's own account of a warm query: medians."""

    queue_s: float
    load_s: float
    online_s: float
    bytes_to_peer: int
    bytes_from_dealer: int


@dataclass(frozen=True)
class Measured:
    """One row of the table; docs/bench.md says what each field means."""

    engine: str
    preset: str
    owners: int
    batch: int
    queries: int
    cold_s: float
    median_s: float
    p95_s: float
    online_s: float
    online_p95_s: float
    rounds: int
    phases: tuple[Phase, ...]
    bytes_per_party: int
    dealer_bytes_per_party: int
    offline_cpu_s: float
    cpu_s: float
    client_cpu_s: float
    cpu_by_process_s: dict[str, float]
    agreement: float
    parties: tuple[PartyCost, PartyCost]


@dataclass(frozen=True)
class _Asked:
    """Replies in order, the first one cold; seconds at the client; CPU seconds a warm query."""

    replies: Sequence[Reply]
    seconds: Sequence[float]
    cpu_s: dict[str, float]
    client_cpu_s: float


def measure(load: Workload, progress: Progress) -> Measured:
    """Run one workload. Raises ConfigError for an engine or a preset there is not."""
    system.check_engine(load.engine)
    spec = system.spec_of(load.preset)
    models = made.models(spec, load.owners, _SEED)
    count = 1 + _WARM_UP + load.queries
    batches = np.split(made.images(spec, count * load.batch, _SEED), count)
    plain = PlainModel(models, system.MARGIN)
    expected = [plain.owners(features.extract(spec, batch)) for batch in batches]
    with system.running(spec, load.engine) as deployment:
        processes = Processes(deployment)
        system.fill(deployment, models, progress)
        with Client(system.client_config(deployment)) as client:
            asked = _ask(client, processes, batches, partial(progress, "query"))
    return _summary(load, asked, expected)


def _ask(
    client: Client, processes: Processes, batches: Sequence[made.Images], progress: "partial[None]"
) -> _Asked:
    replies, seconds = [], []
    before, mine = processes.cpu_s(), time.process_time()
    for done, batch in enumerate(batches, start=1):
        if done == 2 + _WARM_UP:
            before, mine = processes.cpu_s(), time.process_time()
        started = time.perf_counter()
        replies.append(client.identify(batch, system.COHORT))
        seconds.append(time.perf_counter() - started)
        progress(done, len(batches))
    warm = len(batches) - 1 - _WARM_UP
    spent = {name: (after - before[name]) / warm for name, after in processes.cpu_s().items()}
    return _Asked(replies, seconds, spent, (time.process_time() - mine) / warm)


def _summary(load: Workload, asked: _Asked, expected: Sequence[Sequence[str | None]]) -> Measured:
    warm = asked.replies[1 + _WARM_UP :]
    seconds = asked.seconds[1 + _WARM_UP :]
    online = [max(cost.online_s for cost in reply.costs) for reply in warm]
    parties = (_party([reply.costs[0] for reply in warm]), _party([r.costs[1] for r in warm]))
    answers = [[answer.owner for answer in reply.answers] for reply in asked.replies]
    return Measured(
        **vars(load),
        cold_s=asked.seconds[0],
        median_s=float(np.median(seconds)),
        p95_s=float(np.percentile(seconds, 95)),
        online_s=float(np.median(online)),
        online_p95_s=float(np.percentile(online, 95)),
        rounds=max(cost.rounds for reply in warm for cost in reply.costs),
        phases=warm[-1].costs[0].phases,
        bytes_per_party=max(party.bytes_to_peer for party in parties),
        dealer_bytes_per_party=max(party.bytes_from_dealer for party in parties),
        offline_cpu_s=asked.cpu_s["dealer"],
        cpu_s=sum(asked.cpu_s.values()),
        client_cpu_s=asked.client_cpu_s,
        cpu_by_process_s=asked.cpu_s,
        agreement=float(np.mean(np.array(answers) == np.array(expected))),
        parties=parties,
    )


def _party(costs: Sequence[Cost]) -> PartyCost:
    medians = {
        name: float(np.median([getattr(cost, name) for cost in costs]))
        for name in ("queue_s", "load_s", "online_s")
    }
    return PartyCost(
        bytes_to_peer=max(cost.bytes_to_peer for cost in costs),
        bytes_from_dealer=max(cost.bytes_from_dealer for cost in costs),
        **medians,
    )
