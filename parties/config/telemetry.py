"""[cohorts.telemetry]: histograms of best scores, opened as sums over many answers with noise."""

from fractions import Fraction
from typing import Literal

from pydantic import Field

from privedge.config import Section

# In `state`: the histograms that were opened.
FOLDER = "telemetry"
# Below these a histogram tells more of one client than docs/how-to/telemetry.md says.
LEAST_QUERIES, MOST_EPSILON, DAY_S = 1000, 1.0, 86_400.0
# Numbers of epsilon are made fractions with at most this denominator.
_DENOMINATOR = 1000


class TelemetrySection(Section):
    """Histograms of a cohort's best scores. The whole table must be the same at both parties."""

    bins: int = Field(
        default=20, ge=2, le=50, description="Bins of equal width between score 0 and 1."
    )
    min_queries: int = Field(
        default=LEAST_QUERIES,
        ge=1,
        description="Answers that must have been counted by one pair of workers; of fewer, nothing "
        "is opened.",
    )
    answers_per_client: int = Field(
        default=10,
        ge=1,
        le=100_000,
        description="Answers of one client that count within a period; its others do not.",
    )
    epsilon: float = Field(
        default=MOST_EPSILON,
        ge=0.01,
        le=10,
        description="How much one period's histogram may tell of one `unit`, as in differential "
        "privacy. Each party adds noise that is enough alone.",
    )
    unit: Literal["client", "answer"] = Field(
        default="client",
        description="`client`: all counted answers of a client are protected together. `answer`: "
        "each for itself, with less noise; for cohorts whose clients ask for many people.",
    )
    period_s: float = Field(
        default=DAY_S,
        gt=0,
        le=31 * DAY_S,
        description="Seconds of one histogram. Periods begin at multiples of it since 1970, UTC.",
    )

    @property
    def scale(self) -> Fraction:
        """The scale of each party's noise: sensitivity / epsilon.

        One unit's answers can move from some bins to others: each changes two bins by one.
        """
        answers = self.answers_per_client if self.unit == "client" else 1
        return 2 * answers / Fraction(self.epsilon).limit_denominator(_DENOMINATOR)

    @property
    def word(self) -> str:
        """All of it in one word, which the parties compare."""
        values = self.model_dump().values()
        return "-".join(str(value) for value in values)
