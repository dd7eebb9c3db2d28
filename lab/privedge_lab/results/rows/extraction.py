"""`attack extraction`: a row for each number of labels."""

from dataclasses import dataclass

from privedge_lab.results.rows.row import Row
from privedge_lab.results.rows.values import Figure, Text


@dataclass(frozen=True, kw_only=True)
class ExtractionRow(Row):
    """How well a copy made from `labels` answers like the service.

    service: "plaintext", or "parties" for real ones. budget: "none" or "safe". times: the labels
    wanted, in safe budgets of 30 days. agreement: the share of `fresh` questions with the same
    answer. budget_days: how long one client waits for so many labels under the safe budget.
    """

    experiment: Text
    service: Text
    budget: Text
    preset: Text
    values: Figure
    components: Figure
    owners: Figure
    margin: Figure
    seed: int | None
    times: Figure
    labels: Figure
    agreement: Figure
    plus_minus: Figure
    fresh: Figure
    budget_days: Figure
