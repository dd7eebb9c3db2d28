"""`evaluate original`: rows of one owner, of all owners together, and one at the end."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from privedge_lab.results.rows.row import Row
from privedge_lab.results.rows.scores import OwnerScore, Scores
from privedge_lab.results.rows.values import Confusion, Figure, Flag, Text


@dataclass(frozen=True, kw_only=True)
class OriginalRow(Row):
    """How far the original network came.

    owner, step, ...          one owner's training at a point
    seconds_each, steps, ...  what all owners' networks told apart at a point
    final                     the same at the end, beside baselines on the same images
    """

    seed: int | None
    final: Flag = None
    owner: Text = None
    point: Figure = None
    step: Figure = None
    seconds: Figure = None
    wall_seconds: Figure = None
    loss: Figure = None
    validation_error: Figure = None
    best_validation_error: Figure = None
    preset: Text = None
    owners: Figure = None
    asked: Figure = None
    batch: Figure = None
    steps: Mapping[str, Figure] = field(default_factory=dict)
    published_steps: Figure = None
    published_batch: Figure = None
    seconds_each: Figure = None
    macro_precision: Figure = None
    macro_recall: Figure = None
    accuracy: Figure = None
    per_owner: tuple[OwnerScore, ...] = ()
    confusion: Confusion | None = None
    baselines: Mapping[str, Scores] = field(default_factory=dict)
