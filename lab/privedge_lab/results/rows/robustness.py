"""`evaluate robustness`: a row a disturbance, level and seed."""

from collections.abc import Mapping
from dataclasses import dataclass

from privedge_lab.results.rows.row import Row
from privedge_lab.results.rows.scores import Scores
from privedge_lab.results.rows.values import Figure, Text


@dataclass(frozen=True, kw_only=True)
class RobustnessRow(Row):
    """Models of clean images, asked about disturbed ones; "none" is the reference."""

    seed: int | None
    disturbance: Text
    level: Figure
    preset: Text
    owners: Figure
    asked: Figure
    macro_recall: Figure
    accuracy: Figure
    auroc_known: Figure
    baselines: Mapping[str, Scores]
