"""`evaluate fairness`: a row a seed, thief and calibration."""

from dataclasses import dataclass

from privedge_lab.results.rows.row import Part, Row
from privedge_lab.results.rows.values import Figure, Flag, Text


@dataclass(frozen=True, kw_only=True)
class WinRates(Part):
    """Images won over images asked about: of the honest owners the extremes, and of the thief."""

    most_won_over_asked: Figure
    least_won_over_asked: Figure
    thief_won_over_asked: Figure


@dataclass(frozen=True, kw_only=True)
class FairnessRow(Row):
    """What a model in another owner's place wins; means over `tries` owners.

    The thief "none" is the honest cohort. audit_*: would an audit on public images refuse it?
    """

    seed: int | None
    thief: Text
    calibration: Text
    owners: Figure
    tries: Figure
    components: Figure
    admitted: Flag
    steal_rate: Figure
    macro_recall: Figure
    win_rates: WinRates | None
    audit_ratio: Figure
    audit_refused: Flag
    audit_refused_share: Figure
    audit_refused_honest: Figure
