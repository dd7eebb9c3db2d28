"""How much each client may ask, and each owner activate."""

from pydantic import Field

from privedge.config import Section


class BudgetsSection(Section):
    """What one identity may have over time. Each party counts for itself, durably.

    A refusal is RESOURCE_EXHAUSTED, and says after how many milliseconds to come again.
    """

    labels_per_day: int = Field(
        default=10_000,
        ge=0,
        description="Images that one client may have answered in one cohort within 24 hours. With "
        "0 there is no limit: whoever has enough labels can copy a model "
        "(docs/explanation/threat-model.md).",
    )
    activations_per_hour: int = Field(
        default=60,
        ge=0,
        description="Models that one owner may activate within an hour. With 0 there is no limit.",
    )
    refusals_per_day: int = Field(
        default=3,
        ge=0,
        description="Models of one owner that the check of new models may refuse within 24 hours, "
        "so that nobody finds its bounds by trying. After these the owner activates no other. With "
        "0 there is no limit.",
    )
    images_per_second: float = Field(
        default=0,
        ge=0,
        description="Images a second of one client, on average; it may send those of 10 seconds at "
        "once, or one largest query. With 0 there is no limit.",
    )
    queries_per_second: float = Field(
        default=0,
        ge=0,
        description="Queries a second of one client, on average; it may send those of 10 seconds "
        "at once. The others are refused before anything of them is read. With 0 there is no "
        "limit.",
    )
