"""What a front end and its workers tell each other: values. Sees one share of queries and answers.

AnswerBytes carries a share, so it has no useful repr.
"""

from dataclasses import dataclass, field

from privedge.ran.model_bounds import Band
from privedge.sharing.cost import Cost


@dataclass(frozen=True)
class Anybody:
    """The question of a check at enrolment: is anybody named, leaving out the owners at the places
    `but`, by this `margin` in place of the snapshot's?
    """

    but: tuple[int, ...]
    margin: float


@dataclass(frozen=True)
class Checked:
    """The question of a check of a new model: is the snapshot's one model to be refused? `band`: of
    its mean error on the images of the run, which are the public probes; None without probes.
    """

    band: Band | None


@dataclass(frozen=True)
class Counted:
    """For each answer of a run, whether its score counts; empty without telemetry.

    `period` is the one whose quota was charged, and the only one in which they may count.
    """

    answers: tuple[bool, ...] = ()
    period: int = 0


NOT_COUNTED = Counted()


@dataclass(frozen=True)
class Job:
    """One run, as a worker is told of it. `shape` is (batch, then the spec's input shape).

    `verify_position` is the place of the owner to verify in the snapshot; None to identify.
    `counted`: for each answer, whether its score counts, and in which period.
    `anybody`: answer only whether anybody is named. `check`: only whether to refuse the model.
    """

    session: bytes
    snapshot_id: str
    shape: tuple[int, ...]
    one_subject: bool
    verify_position: int | None
    counted: Counted = NOT_COUNTED
    anybody: Anybody | None = None
    check: Checked | None = None


@dataclass(frozen=True)
class AnswerBytes:
    """One answer share as it came from a worker: words of `shape`, and what they cost.

    unaudited: whether its run used randomness of which no part was opened and checked.
    """

    shape: tuple[int, ...]
    words: bytes = field(repr=False)
    cost: Cost
    unaudited: bool = False


@dataclass(frozen=True)
class PoolLevel:
    """How many bundles are ready for runs of `batch` images of a cohort, and how many should be."""

    cohort: str
    batch: int
    ready: int
    wanted: int


@dataclass(frozen=True)
class Kept:
    """What a worker says while it prepares: its pools, and ids of models that it could not load."""

    levels: tuple[PoolLevel, ...]
    damaged: tuple[str, ...]
