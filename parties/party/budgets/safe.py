"""How many labels of a cohort are safe to give away (docs/explanation/threat-model.md#budgets).

A label near the border between two models tells about one bit, and a subspace model is (k + 1) * D
numbers. So the safe number is one label a parameter: the attack of `privedge attack extraction`
needed 24 times as many for a good copy. A mean embedding alone is worth stealing, and is D
numbers: encoders and vectors have a fixed, smaller number, and one by the hour.
"""

import math
from dataclasses import dataclass

from parties.config.cohort import LabelBudgetSection
from privedge.graph.spec import Label, ModelSpec
from privedge.ran.any_spec import Spec
from privedge.ran.feature_kinds import Encoder, Vector

# Of one client, behind an encoder and for vectors: in 30 days, and in an hour.
_EMBEDDINGS_MONTH, _EMBEDDINGS_HOUR = 500, 20
# Clients that work together get so many times what one gets.
_TOGETHER = 20


@dataclass(frozen=True)
class LabelLimits:
    """Labels of one cohort: of one client in 30 days and in an hour, of all in 30 days. 0: any."""

    client_month: int = 0
    client_hour: int = 0
    all_month: int = 0


UNLIMITED = LabelLimits()


def safe(spec: Spec) -> LabelLimits:
    """The safe numbers for models of `spec`."""
    sizes = (math.prod(shape) for shape in spec.parameters().values())
    if isinstance(spec, ModelSpec):
        month = max(1, sum(sizes) // _bits_told(spec))
        return LabelLimits(month, 0, _TOGETHER * month)
    month = sum(sizes) - 1  # the threshold is none of the model's parameters
    if not has_embeddings(spec):
        return LabelLimits(month, 0, _TOGETHER * month)
    month = min(month, _EMBEDDINGS_MONTH)
    return LabelLimits(month, _EMBEDDINGS_HOUR, _TOGETHER * month)


def _bits_told(spec: ModelSpec) -> int:
    """About how many bits of a model an answer tells: of a score those behind the point, and 16."""
    if isinstance(spec.outputs, Label):
        return 1
    return (spec.fractional_bits + 16) * spec.width


def has_embeddings(spec: Spec) -> bool:
    """Whether models are of what an encoder gives, or of vectors that owners make themselves."""
    return not isinstance(spec, ModelSpec) and isinstance(spec.features, Encoder | Vector)


def of_cohort(section: LabelBudgetSection | None, spec: Spec) -> LabelLimits:
    """What `[cohorts.budget]` says; without the table there is no limit."""
    if section is None:
        return UNLIMITED
    default = safe(spec)
    return LabelLimits(
        *(
            getattr(default, name) if (said := getattr(section, name)) == "safe" else said
            for name in ("client_month", "client_hour", "all_month")
        )
    )
