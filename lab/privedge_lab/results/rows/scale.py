"""`evaluate scale`: a row a seed and number of owners."""

from dataclasses import dataclass

from privedge_lab.results.rows.row import Part, Row
from privedge_lab.results.rows.values import Figure, Text


@dataclass(frozen=True, kw_only=True)
class PrivateCost(Part):
    """What a private query of so many owners cost: medians over `queries`, CPU seconds means."""

    queries: Figure
    seconds_per_query: Figure
    online_s: Figure
    offline_cpu_s: Figure
    cpu_s: Figure
    bytes_per_query: Figure
    dealt_bytes: Figure
    rounds: Figure
    agreement: Figure
    ties: Figure


@dataclass(frozen=True, kw_only=True)
class ScaleRow(Row):
    """The same set with so many of its owners; `chance`: what guessing reaches."""

    seed: int | None
    owners: Figure
    preset: Text
    asked: Figure
    macro_recall: Figure
    accuracy: Figure
    auroc_known: Figure
    chance: Figure
    private: PrivateCost | None
