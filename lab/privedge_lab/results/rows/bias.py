"""`evaluate bias`: a row a bias and seed."""

from collections.abc import Mapping
from dataclasses import dataclass

from privedge_lab.results.rows.row import Part, Row
from privedge_lab.results.rows.scores import Scores
from privedge_lab.results.rows.values import Figure, Text, Value


@dataclass(frozen=True, kw_only=True)
class Trained(Part):
    """What models reached that trained on some images, asked about some."""

    owners: Figure
    trained_on: Figure
    asked: Figure
    macro_recall: Figure
    accuracy: Figure
    baselines: Mapping[str, Scores]


@dataclass(frozen=True, kw_only=True)
class Mixed(Trained):
    """The same of models that trained on as many images of all values."""

    same: Trained | None


@dataclass(frozen=True, kw_only=True)
class BiasRow(Row):
    """Training on few images (`bias` is "images"; a `value` of None is all) or on one value of a
    fact. `same`: asked about images with that value.
    """

    seed: int | None
    bias: Text
    value: Value
    owners: Figure
    trained_on: Figure
    asked: Figure
    macro_recall: Figure
    accuracy: Figure
    baselines: Mapping[str, Scores]
    same: Trained | None
    mixed: Mixed | None
