"""What one run computes: the facts on which both workers must agree."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from parties.mpc.predict import Rule
from parties.worker import agreement
from parties.worker.snapshot_cache import Snapshot
from privedge.ran.model_bounds import ProbeBounds


class Method(NamedTuple):
    """How this party computes; the other one must do the same. See config.PartyConfig."""

    engine: Literal["fused", "crypten"]
    rounding: Literal["one-unit", "exact"]
    randomness: Literal["dealer", "two-party"] = "dealer"


class Kind(NamedTuple):
    """Runs of one kind use the same tuples: these depend on sizes only, never on values."""

    snapshot_id: str
    # (batch, then the spec's input shape).
    shape: tuple[int, ...]
    one_subject: bool = False
    # Of a check at enrolment: see Rule. No bundles are prepared for it.
    anybody_but: tuple[int, ...] | None = None
    # Of a check of a new model: likewise.
    checks_model: bool = False


@dataclass(frozen=True)
class ModelCheck:
    """That a new model is checked (model_check.py), and the bounds of its errors on the images."""

    bounds: ProbeBounds | None

    @property
    def word(self) -> str:
        """The same in both agreements if the checks are the same."""
        if self.bounds is None:
            return "bounds"
        numbers = (*vars(self.bounds.band).values(), *self.bounds.limits)
        return " ".join([*(number.hex() for number in numbers), str(self.bounds.most_won)])


@dataclass(frozen=True)
class Task:
    """One run on a snapshot's models. `shape` is (batch, then the spec's input shape).

    `counted`: for each answer, whether this party counts its score; empty for none.
    `counted_period`: the period whose quota was charged for them.
    `check`: of a run that checks the snapshot's one model; None for any other.
    """

    snapshot: Snapshot
    shape: tuple[int, ...]
    rule: Rule
    method: Method
    counted: tuple[bool, ...] = ()
    counted_period: int = 0
    check: ModelCheck | None = None

    @property
    def answers(self) -> int:
        """How many answers there will be."""
        return 1 if self.rule.one_subject or self.check is not None else self.shape[0]

    @property
    def is_of_client(self) -> bool:
        """Whether a client asks, and neither check of a new model."""
        return self.rule.anybody_but is None and self.check is None

    @staticmethod
    def of_kind(kind: Kind, snapshot: Snapshot, method: Method) -> "Task":
        """A task of that kind: to identify, not to verify one owner."""
        rule = Rule(
            snapshot.margin,
            kind.one_subject,
            mean_share=snapshot.mean_share,
            rivals=snapshot.rivals,
            public_owners=snapshot.public_owners,
        )
        return Task(snapshot, kind.shape, rule, method)

    @property
    def kind(self) -> Kind:
        """Which plan and which bundles fit."""
        but = self.rule.anybody_but
        checks = self.check is not None
        return Kind(self.snapshot.id, self.shape, self.rule.one_subject, but, checks)

    def facts(self) -> str:
        """Models, architecture, question, shape and method, as the text of agreement.py."""
        facts: dict[str, Any] = {
            "snapshot": self.snapshot.id,
            "spec": self.snapshot.spec_digest,
            "shape": list(self.shape),
            "margin": self.rule.margin,
            "mean_share": self.rule.mean_share,
            "one_subject": self.rule.one_subject,
            "verify_position": self.rule.verify_position,
            "engine": self.method.engine,
            "rounding": self.method.rounding,
        }
        if self.method.randomness != "dealer":  # left out otherwise: as releases before it say it
            facts["randomness"] = self.method.randomness
        if self.rule.rivals is not None:  # left out otherwise: as releases without rivals say it
            facts["rivals"] = self.rule.rivals.digest
        if self.rule.public_owners:  # likewise
            facts["public_owners"] = self.rule.public_owners
        if self.snapshot.telemetry is not None:
            facts["telemetry"] = self.snapshot.telemetry.word
        if self.rule.anybody_but is not None:  # likewise
            facts["anybody_but"] = list(self.rule.anybody_but)
        if self.check is not None:  # likewise
            facts["model_check"] = self.check.word
        return agreement.canonical(facts)

    def agreement(self) -> bytes:
        """SHA-256 of `facts`: both workers must have the same one."""
        return agreement.digest(self.facts())
