"""`attack membership`: a row for each attack."""

from dataclasses import dataclass

from privedge_lab.results.rows.row import Row
from privedge_lab.results.rows.values import Figure, Text


@dataclass(frozen=True, kw_only=True)
class MembershipRow(Row):
    """Was an image trained on? `advantage`: true minus false positive rate of the attack."""

    experiment: Text
    copies: Figure
    preset: Text
    owners: Figure
    members: Figure
    asked: Figure
    margin: Figure
    steps: Figure
    seed: int | None
    attack: Text
    auc: Figure
    auc_plus_minus: Figure
    advantage: Figure
    advantage_plus_minus: Figure
    images: Figure
    right_members: Figure
    right_others: Figure
    dp_epsilon: Figure = None
