"""What one query cost at one engine, and the row of the table that many of them make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from privedge.reference.model import PlainAnswer
from privedge.sharing.cost import Phase

# Ratios are against this engine.
REFERENCE = "fused"
# The first query is cold; the second of a kind is the first for which the dealer can work ahead.
COLD, WARM_UP = 1, 2


@dataclass(frozen=True)
class PartyCost:
    """One party's own account of a query."""

    queue_s: float
    load_s: float
    online_s: float
    bytes_to_peer: int
    bytes_from_dealer: int


@dataclass(frozen=True)
class AtClient:
    """A query as the client who asked it saw it: seconds of all of it, seconds from sending the
    shares until both answers are back, CPU seconds, and bytes of shares sent and received.
    """

    all_s: float
    wall_s: float
    cpu_s: float
    bytes: int


@dataclass(frozen=True)
class Sample:
    """One query. `cpu_s` is what the processes took, by kind, until they were at rest again."""

    owners: Sequence[str | None]
    rounds: int
    parties: tuple[PartyCost, PartyCost]
    cpu_s: Mapping[str, float]
    # Of `cpu_s`, what was not the query itself but correlated randomness.
    offline_cpu_s: float
    # Seconds that what was prepared for it took, where that is known.
    offline_s: float | None = None
    # By party 0's account.
    phases: tuple[Phase, ...] = ()
    client: AtClient | None = None

    @property
    def online_s(self) -> float:
        """Of the slower party."""
        return max(party.online_s for party in self.parties)


@dataclass(frozen=True)
class Measured:
    """One row of the table; docs/results/bench.md says what each field means."""

    engine: str
    preset: str
    owners: int
    batch: int
    queries: int
    cold_s: float | None
    median_s: float | None
    p95_s: float | None
    wall_s: float | None
    online_s: float
    online_p95_s: float
    offline_s: float | None
    rounds: int
    phases: tuple[Phase, ...]
    bytes_per_party: int
    dealer_bytes_per_party: int
    offline_cpu_s: float
    cpu_s: float
    client_cpu_s: float | None
    cpu_by_process_s: dict[str, float]
    agreement: float
    agreeing: int
    ties: int
    differing: int
    parties: tuple[PartyCost, PartyCost]
    pool: str | None
    rtt_ms: float
    ratio: float | None = None


@dataclass(frozen=True)
class Asked:
    """What was asked of one engine."""

    engine: str
    preset: str
    owners: int
    batch: int
    queries: int
    pool: str | None
    rtt_ms: float


def row(
    asked: Asked, samples: Sequence[Sample], expected: Sequence[Sequence[PlainAnswer]]
) -> Measured:
    """`samples` in order, COLD and WARM_UP first; `expected` are the right answers of each."""
    warm = samples[COLD + WARM_UP :]
    online = [sample.online_s for sample in warm]
    parties = (_medians([s.parties[0] for s in warm]), _medians([s.parties[1] for s in warm]))
    cpu_s = {kind: _mean([sample.cpu_s[kind] for sample in warm]) for kind in warm[0].cpu_s}
    return Measured(
        **vars(asked),
        **_at_client(samples),
        online_s=float(np.median(online)),
        online_p95_s=float(np.percentile(online, 95)),
        offline_s=_offline_s(warm),
        rounds=max(sample.rounds for sample in warm),
        phases=warm[-1].phases,
        bytes_per_party=max(party.bytes_to_peer for party in parties),
        dealer_bytes_per_party=max(party.bytes_from_dealer for party in parties),
        offline_cpu_s=_mean([sample.offline_cpu_s for sample in warm]),
        cpu_s=sum(cpu_s.values()),
        cpu_by_process_s=cpu_s,
        **_labels(samples, expected),
        parties=parties,
    )


def _labels(samples: Sequence[Sample], expected: Sequence[Sequence[PlainAnswer]]) -> dict[str, Any]:
    """A tie is counted as one however it was answered: rounding may decide it either way."""
    answers = [sample.owners for sample in samples]
    plain = [right for some in expected for right in some]
    given = [owner for owners in answers for owner in owners]
    clear = [
        owner == right.owner for owner, right in zip(given, plain, strict=True) if not right.tie
    ]
    return {
        "agreement": agreement(answers, [[each.owner for each in some] for some in expected]),
        "agreeing": sum(clear),
        "ties": len(given) - len(clear),
        "differing": len(clear) - sum(clear),
    }


def agreement(
    answers: Sequence[Sequence[str | None]], expected: Sequence[Sequence[str | None]]
) -> float:
    """Share of the images whose answer is the expected one."""
    right = [
        answer == wanted
        for answered, wanteds in zip(answers, expected, strict=True)
        for answer, wanted in zip(answered, wanteds, strict=True)
    ]
    return _mean(right)


def with_ratios(rows: Sequence[Measured]) -> list[Measured]:
    """Each row with its online seconds over those of the fused engine in the same run."""
    reference = [each.online_s for each in rows if each.engine == REFERENCE]
    return [
        replace(each, ratio=each.online_s / reference[0] if reference else None) for each in rows
    ]


def _at_client(samples: Sequence[Sample]) -> dict[str, Any]:
    seen = [sample.client for sample in samples if sample.client is not None]
    warm = seen[COLD + WARM_UP :]
    if not warm:
        return dict.fromkeys(("cold_s", "median_s", "p95_s", "wall_s", "client_cpu_s"))
    seconds = [each.all_s for each in warm]
    return {
        "cold_s": seen[0].all_s,
        "median_s": float(np.median(seconds)),
        "p95_s": float(np.percentile(seconds, 95)),
        "wall_s": float(np.median([each.wall_s for each in warm])),
        "client_cpu_s": _mean([each.cpu_s for each in warm]),
    }


def _offline_s(warm: Sequence[Sample]) -> float | None:
    known = [sample.offline_s for sample in warm if sample.offline_s is not None]
    return float(np.median(known)) if known else None


def _medians(costs: Sequence[PartyCost]) -> PartyCost:
    """Seconds are medians; bytes, which only a change of snapshot changes, the most."""
    seconds = {
        name: float(np.median([getattr(cost, name) for cost in costs]))
        for name in ("queue_s", "load_s", "online_s")
    }
    return PartyCost(
        bytes_to_peer=max(cost.bytes_to_peer for cost in costs),
        bytes_from_dealer=max(cost.bytes_from_dealer for cost in costs),
        **seconds,
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
