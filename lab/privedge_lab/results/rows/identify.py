"""`evaluate identify`: a row a seed."""

from collections.abc import Mapping
from dataclasses import dataclass

from privedge_lab.results.rows.row import Part, Row
from privedge_lab.results.rows.scores import OwnerScore, Scores
from privedge_lab.results.rows.values import Confusion, Figure, Text


@dataclass(frozen=True, kw_only=True)
class Known(Part):
    """Half of the owners registered, the others strangers; evaluation.identify_figures.known."""

    auroc_known: Figure = None
    auroc_margin: Figure = None
    auroc_mean: Figure = None
    auroc_best: Figure = None
    precision: Figure = None
    recall: Figure = None
    false_accept: Figure = None


@dataclass(frozen=True, kw_only=True)
class Rate(Part):
    """A share with its 95 % interval (Wilson), and the margin that it is at."""

    share: Figure
    low: Figure
    high: Figure
    margin: Figure


@dataclass(frozen=True, kw_only=True)
class Strangers(Part):
    """Images of owners `asked`, and of `strangers`; evaluation.strangers."""

    asked: Figure
    strangers: Figure
    tar_at_far_01: Rate | None
    tar_at_far_001: Rate | None
    tar_at_margin: Rate | None
    far_at_margin: Rate | None


@dataclass(frozen=True, kw_only=True)
class Voting(Part):
    """Answers over several images of a page; `asked`: how many such groups."""

    asked: Figure
    macro_precision: Figure
    macro_recall: Figure
    accuracy: Figure


@dataclass(frozen=True, kw_only=True)
class Agreement(Part):
    """Shares of `queries` images that two engines answer alike."""

    fixed_plain: Figure = None
    fused_fixed: Figure = None
    fused_fixed_outside_ties: Figure = None
    queries: Figure = None
    ties: Figure = None


@dataclass(frozen=True, kw_only=True)
class IdentifyRow(Row):
    """Owners told apart, and the baselines on the very same images."""

    seed: int | None
    preset: Text
    owners: Figure
    trained_on: Figure
    asked: Figure
    macro_precision: Figure
    macro_recall: Figure
    accuracy: Figure
    per_owner: tuple[OwnerScore, ...]
    confusion: Confusion | None
    top3: Figure
    auroc_known: Figure
    known: Known | None
    tar_at_far_01: Figure
    tar_at_far_001: Figure
    far_at_margin: Figure
    strangers: Strangers | None = None
    voting: Voting | None = None
    agreement: Agreement | None
    baselines: Mapping[str, Scores]
    bytes_per_query: Figure
    seconds_per_query: Figure
    seconds_training: Figure
    seconds_asking: Figure
    seconds: Figure
