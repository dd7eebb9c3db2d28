"""The cost of one query at one engine, and the table row that summarises many queries."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from privedge.sharing.cost import Phase
from privedge_lab.reference.model import PlainAnswer
from privedge_lab.results.rows.bench import PartyFigures, PhaseFigures, QueryRow
from privedge_lab.results.rows.values import Figure

# Ratios are against this engine.
REFERENCE = "fused"
# The first query is cold. The second of a kind is the first that the dealer can prepare ahead.
COLD, WARM_UP = 1, 2


@dataclass(frozen=True)
class PartyCost:
    """The cost of a query as one party reports it."""

    queue_s: float
    load_s: float
    online_s: float
    bytes_to_peer: int
    bytes_from_dealer: int


@dataclass(frozen=True)
class AtClient:
    """The cost of a query at its client (querier).

    `all_s` is the whole time, `wall_s` the time from sending the shares until both answers are
    back. `bytes` are those of shares sent and received.
    """

    all_s: float
    wall_s: float
    cpu_s: float
    bytes: int


@dataclass(frozen=True)
class Sample:
    """One query. `cpu_s` is the CPU time of each kind of process until all were at rest again."""

    owners: Sequence[str | None]
    rounds: int
    parties: tuple[PartyCost, PartyCost]
    cpu_s: Mapping[str, float]
    # The part of `cpu_s` that was spent on correlated randomness (offline phase).
    offline_cpu_s: float
    # Seconds that preparing this query's randomness took, if known.
    offline_s: float | None = None
    # As party 0 reports them.
    phases: tuple[Phase, ...] = ()
    client: AtClient | None = None

    @property
    def online_s(self) -> float:
        """The online seconds of the slower party."""
        return max(party.online_s for party in self.parties)


@dataclass(frozen=True)
class Asked:
    """The workload of one engine."""

    engine: str
    preset: str
    owners: int
    batch: int
    queries: int
    pool: str | None
    rtt_ms: float
    randomness: str | None = None


def row(
    asked: Asked, samples: Sequence[Sample], expected: Sequence[Sequence[PlainAnswer]]
) -> QueryRow:
    """Summarise samples in order, COLD and WARM_UP first; `expected` has their right answers."""
    warm = samples[COLD + WARM_UP :]
    online = [sample.online_s for sample in warm]
    parties = (_medians([s.parties[0] for s in warm]), _medians([s.parties[1] for s in warm]))
    cpu_s = {kind: _mean([sample.cpu_s[kind] for sample in warm]) for kind in warm[0].cpu_s}
    return QueryRow(
        **vars(asked),
        **_at_client(samples),
        online_s=float(np.median(online)),
        online_p95_s=float(np.percentile(online, 95)),
        offline_s=_offline_s(warm),
        rounds=max(sample.rounds for sample in warm),
        phases=tuple(PhaseFigures(**asdict(phase)) for phase in warm[-1].phases),
        bytes_per_party=max(party.bytes_to_peer for party in parties),
        dealer_bytes_per_party=max(party.bytes_from_dealer for party in parties),
        bytes_offline=sum(party.bytes_from_dealer for party in parties),
        offline_cpu_s=_mean([sample.offline_cpu_s for sample in warm]),
        cpu_s=sum(cpu_s.values()),
        cpu_by_process_s=cpu_s,
        **_labels(samples, expected),
        parties=tuple(PartyFigures(**asdict(party)) for party in parties),
        ratio=None,
    )


def _labels(samples: Sequence[Sample], expected: Sequence[Sequence[PlainAnswer]]) -> dict[str, Any]:
    """Compare answers with the expected ones. Ties count apart: rounding may decide them."""
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
    """Return the share of images whose answer is the expected one."""
    right = [
        answer == wanted
        for answered, wanteds in zip(answers, expected, strict=True)
        for answer, wanted in zip(answered, wanteds, strict=True)
    ]
    return _mean(right)


def with_ratios(rows: Sequence[QueryRow]) -> list[QueryRow]:
    """Add to each row its online seconds divided by the first fused engine's in the same run."""
    reference = next((each.online_s for each in rows if each.engine == REFERENCE), None)
    return [replace(each, ratio=_ratio(each.online_s, reference)) for each in rows]


def _ratio(seconds: Figure, reference: Figure) -> Figure:
    return None if seconds is None or reference is None else seconds / reference


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
    """Summarise costs: median seconds, and maximal bytes, which only a new snapshot changes."""
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
