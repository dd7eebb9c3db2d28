"""What the parties must configure alike, and in which words two sides differ. Pure; all public.

Party 0's `Terms` and party 1's are compared field by field. Releases may differ, or nobody could
upgrade one party after the other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from parties.config.party import PartyConfig
from parties.party.models.cohorts import Cohort
from privedge.rpc import versions
from privedge.rpc.versions import Versions

# Where correlated randomness comes from, in a release that does not say it.
DEALER = "dealer"
# How much of an architecture's digest is shown: enough to see that two differ.
_DIGITS = 12

# What is compared of a cohort, and what it is called; and which of these are digests.
_COMPARED = {"spec_digest": "architecture"} | {
    name: name
    for name in (
        "rivals",
        "model_check",
        "margin",
        "mean_share",
        "public_owners",
        "enrolment_check",
        "enrolment_on_match",
        "enrolment_margin",
        "telemetry",
    )
}
_OF_DIGESTS = ("spec_digest", "rivals", "model_check")


@dataclass(frozen=True)
class CohortTerms:
    """One cohort.

    spec_digest: SHA-256 (hex) of its architecture.
    rivals: that of its public rivals, or empty.
    telemetry: how scores are counted, in one word; empty if they are not.
    """

    name: str
    spec_digest: str
    margin: float
    mean_share: float
    rivals: str = ""
    telemetry: str = ""
    enrolment_check: str = "off"
    enrolment_on_match: str = "report"
    # Of the check; 0 where there is none.
    enrolment_margin: float = 0.0
    # How new models are checked, in one word; empty if they are not.
    model_check: str = ""
    public_owners: int = 0


@dataclass(frozen=True)
class Terms:
    """What one party computes with, and for which cohorts."""

    engine: str
    rounding: str
    workers: int
    cohorts: tuple[CohortTerms, ...]
    # Images in one query, at most; 0 from a release that does not say it.
    max_batch: int = 0
    randomness: str = DEALER
    versions: Versions = field(default_factory=Versions)


def of_party(config: PartyConfig, cohorts: Iterable[Cohort]) -> Terms:
    """This party's own."""
    return Terms(
        engine=config.engine,
        rounding=config.rounding,
        workers=config.workers,
        cohorts=tuple(
            CohortTerms(
                each.name,
                each.spec_digest,
                each.margin,
                each.mean_share,
                each.rivals_digest,
                each.telemetry.word if each.telemetry else "",
                each.enrolment_check,
                each.enrolment_on_match,
                each.enrolment_margin if each.enrolment_check != "off" else 0.0,
                each.model_check.word if each.model_check else "",
                each.public_owners,
            )
            for each in cohorts
        ),
        max_batch=config.limits.max_batch,
        randomness=config.randomness,
    )


def differences(mine: Terms, theirs: Terms) -> tuple[str, ...]:
    """What keeps the parties from computing anything: ("rounding: exact here, one-unit there",)."""
    names: tuple[str, ...] = ("engine", "rounding", "randomness", "workers")
    if 0 not in (mine.max_batch, theirs.max_batch):
        names = (*names, "max_batch")
    return versions.differences(mine.versions, theirs.versions) + tuple(
        f"{name}: {getattr(mine, name)} here, {getattr(theirs, name)} there"
        for name in names
        if getattr(mine, name) != getattr(theirs, name)
    )


def cohort_differences(mine: Terms, theirs: Terms) -> Mapping[str, tuple[str, ...]]:
    """By name, in which ways a cohort of either party differs. Only such cohorts are in it."""
    here = {cohort.name: cohort for cohort in mine.cohorts}
    there = {cohort.name: cohort for cohort in theirs.cohorts}
    found = {name: _differing(here.get(name), there.get(name)) for name in sorted({*here, *there})}
    return {name: lines for name, lines in found.items() if lines}


def _differing(here: CohortTerms | None, there: CohortTerms | None) -> tuple[str, ...]:
    if here is None:
        return ("not configured here",)
    if there is None:
        return ("not configured there",)
    return tuple(
        f"{label}: {_shown(name, here)} here, {_shown(name, there)} there"
        for name, label in _COMPARED.items()
        if getattr(here, name) != getattr(there, name)
    )


def _shown(name: str, terms: CohortTerms) -> object:
    value = getattr(terms, name)
    if name == "telemetry":
        return value or "off"
    return (value[:_DIGITS] or "none") if name in _OF_DIGESTS else value
