"""`attack attributes`: a row for each defence and strength."""

from dataclasses import dataclass

from privedge_lab.results.rows.row import Part, Row
from privedge_lab.results.rows.values import Figure, Text


@dataclass(frozen=True, kw_only=True)
class Attacker(Part):
    """One of the fresh attackers, and the share that it got right."""

    architecture: Text
    seed: int | None
    accuracy: Figure


@dataclass(frozen=True, kw_only=True)
class AttributesRow(Row):
    """What the strongest attacker reads of the `private` fact off what crosses the cut.

    floor_*: what the same attackers read off the answer alone; `bound`: in hindsight.
    """

    private: Text
    preset: Text
    cut: Text
    defence: Text
    strength: Figure
    repeat: Text
    epochs: Figure
    seed: int | None
    attack: Text
    accuracy: Figure
    plus_minus: Figure
    architecture: Text
    bound: Figure
    majority: Figure
    above_majority: Figure
    floor_accuracy: Figure
    floor_bound: Figure
    attackers: tuple[Attacker, ...]
    task_accuracy: Figure
    images: Figure

    @property
    def guessed(self) -> Figure:
        """The share of private facts that the attacker got right."""
        return self.accuracy
