"""What rows about telling owners apart have in common."""

from dataclasses import dataclass

from privedge_lab.results.rows.row import Part
from privedge_lab.results.rows.values import Figure, Text


@dataclass(frozen=True, kw_only=True)
class Scores(Part):
    """How well some images were answered; precision and recall are means over owners."""

    macro_precision: Figure
    macro_recall: Figure
    accuracy: Figure


@dataclass(frozen=True, kw_only=True)
class OwnerScore(Part):
    """One owner: images of it that were asked, and images that were answered as its own."""

    owner: Text
    precision: Figure
    recall: Figure
    asked: Figure
    answered: Figure
