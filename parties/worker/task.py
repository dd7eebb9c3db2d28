"""What a run computes, in the terms in which the two workers must mean the same."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from parties.worker import agreement
from privedge.mpc.predict import Rule
from privedge.ran.spec import RanSpec
from privedge.wire import worker_pb2 as pb


class Method(NamedTuple):
    """How this party computes; the other one must do the same. See config.PartyConfig."""

    engine: Literal["fused", "crypten"]
    rounding: Literal["one-unit", "exact"]


class Kind(NamedTuple):
    """Runs of one kind take the same tuples: the sizes of models and query decide, no value."""

    snapshot_id: str
    # (batch, then the spec's input shape).
    shape: tuple[int, ...]
    one_subject: bool = False


@dataclass(frozen=True)
class Task:
    """One run on a snapshot's models."""

    snapshot: pb.Snapshot
    spec: RanSpec
    shape: tuple[int, ...]
    rule: Rule
    method: Method

    @staticmethod
    def of_job(job: pb.Job, snapshot: pb.Snapshot, method: Method) -> "Task":
        """What a front end asks for, of the snapshot that the job names."""
        position = job.verify_position if job.HasField("verify_position") else None
        rule = Rule(snapshot.margin, job.one_subject, position, snapshot.mean_share)
        return Task(snapshot, parsed(snapshot.spec_json), tuple(job.shape), rule, method)

    @staticmethod
    def of_kind(kind: Kind, snapshot: pb.Snapshot, method: Method) -> "Task":
        """A question of that kind, whichever."""
        rule = Rule(snapshot.margin, kind.one_subject, mean_share=snapshot.mean_share)
        return Task(snapshot, parsed(snapshot.spec_json), kind.shape, rule, method)

    @property
    def kind(self) -> Kind:
        """Which plan and which bundles fit."""
        return Kind(self.snapshot.id, self.shape, self.rule.one_subject)

    def facts(self) -> str:
        """Models, architecture, question, shape and method, as the text of agreement.py."""
        return agreement.canonical(
            {
                "snapshot": self.snapshot.id,
                "spec": _digest(self.spec),
                "shape": list(self.shape),
                "margin": self.rule.margin,
                "mean_share": self.rule.mean_share,
                "one_subject": self.rule.one_subject,
                "verify_position": self.rule.verify_position,
                "engine": self.method.engine,
                "rounding": self.method.rounding,
            }
        )

    def agreement(self) -> bytes:
        """SHA-256 of `facts`: equal at both workers, or they do not compute."""
        return agreement.digest(self.facts())


# Every query brings its specification along, and there are few different ones.


@lru_cache(maxsize=64)
def parsed(text: str) -> RanSpec:
    return RanSpec.from_json(text)


@lru_cache(maxsize=64)
def _digest(spec: RanSpec) -> str:
    return spec.digest()
