"""One run on CrypTen: from a share of the query to a share of the answer, and what it cost."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from parties.config.sections import PoolSection
from parties.mpc.crypten_backend.engine import CryptenEngine, ProgramEngine
from parties.mpc.crypten_backend.served import answered
from parties.mpc.dealing import SessionId
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.network import Distances
from parties.mpc.predict import Rule, decide, measure
from parties.mpc.release import Released, release
from parties.worker.cancellation import Cancellation
from parties.worker.model_check import refused
from parties.worker.score_tally import ScoreTally
from parties.worker.sessions import Opened, Sessions
from parties.worker.task import Task
from parties.worker.weights import Stacked, Weights
from privedge.errors import Busy, NotReady
from privedge.graph.spec import ModelSpec
from privedge.ran.spec import RanSpec
from privedge.rpc.deadline import Deadline
from privedge.sharing.cost import Cost

# A lot for a kind that was not asked before is there after so long.
_AUDITED_SOON_S = 1.0


@dataclass(frozen=True)
class AnswerShare:
    """This party's share of the answer, int64, as it may leave."""

    words: Released = field(repr=False)
    cost: Cost
    # Whether no part of the lot that its randomness comes from was opened and checked.
    unaudited: bool = False


class Computation:
    """Runs one task at a time, because CrypTen keeps its state in the process."""

    def __init__(
        self,
        sessions: Sessions,
        weights: Weights,
        tally: ScoreTally,
        pool: PoolSection | None = None,
    ) -> None:
        self._sessions = sessions
        self._weights = weights
        self._tally = tally
        self._audits = pool is not None and pool.opened > 0
        self._refuses = pool is not None and pool.unaudited == "refuse"

    @property
    def damaged(self) -> frozenset[str]:
        """Ids of the models whose share file could not be used when it was last read."""
        return self._weights.damaged

    def run(
        self,
        run: SessionId,
        task: Task,
        share: torch.Tensor | None,
        deadline: Deadline,
        cancellation: Cancellation,
        deliver: Callable[[AnswerShare], object] = lambda _: None,
    ) -> AnswerShare:
        """Compute `task` on this share of its images, in step with the other party's worker.

        In a cohort with telemetry, `deliver` is given the answer before its score is counted.
        Without a share it computes on zeros, which is a rehearsal. Raises Busy, before anything of
        the share is sent, for a client's query that would be unaudited if this party refuses that;
        DigestMismatch for a damaged model, TranscriptMismatch if the parties saw different runs,
        and what Sessions.open raises. Then the other worker's half ends too.
        """
        with self._sessions.both_end(run):
            return self._run(run, task, share, deadline, cancellation, deliver)

    def _run(
        self,
        run: SessionId,
        task: Task,
        share: torch.Tensor | None,
        deadline: Deadline,
        cancellation: Cancellation,
        deliver: Callable[[AnswerShare], object],
    ) -> AnswerShare:
        started = time.perf_counter()
        # Checks of models and at enrolment have no bundles: each is asked once.
        refuses = self._refuses and share is not None and task.is_of_client
        if share is None:
            share = torch.zeros(task.shape, dtype=torch.int64)
        weights = self._weights.load(
            task.snapshot.id, task.snapshot.spec, task.snapshot.models, keep=task.check is None
        )
        loaded = time.perf_counter()
        with (
            self._sessions.open(run, task, deadline, cancellation) as opened,
            _engine(opened, task) as engine,
        ):
            dealt = task.method.randomness == "dealer"
            unaudited = opened.prepared is None or not self._audits or not dealt
            if unaudited and refuses:
                raise Busy("no bundle is ready whose lot was audited", _AUDITED_SOON_S)
            distances, inner = _computed(engine, task, weights, share)
            # The share may leave only after both parties have compared what they saw, and under a
            # zero-share that the dealer does not know.
            opened.session.confirm()
            words = release(opened.session, inner, _name(task))
            if distances is not None and task.snapshot.telemetry is not None:
                answer = AnswerShare(words, _cost(opened, loaded - started, loaded), unaudited)
                deliver(answer)
                self._tally.add(opened.session, run.session, task, engine, distances)
                return answer
        return AnswerShare(words, _cost(opened, loaded - started, loaded), unaudited)


def _name(task: Task) -> str:
    """What is released, in one word or two."""
    rule = task.rule
    if task.check is not None:
        return "model check"
    if rule.anybody_but is not None:
        return "enrolment check"
    return "answer" if rule.verify_position is None else "verify"


def _cost(opened: Opened, load_s: float, since: float) -> Cost:
    session, prepared = opened.session, opened.prepared
    return Cost(
        rounds=session.rounds,
        bytes_to_peer=session.bytes_sent,
        bytes_from_dealer=opened.bytes_from_dealer,
        load_s=load_s,
        online_s=time.perf_counter() - since,
        phases=session.phases,
        offline_s=prepared.bundle.seconds if prepared else 0.0,
    )


@contextmanager
def _engine(opened: Opened, task: Task) -> Iterator[ProgramEngine]:
    """The engine of this task, for this thread."""
    if task.method.engine == "fused":
        exact = task.method.rounding == "exact"
        engine: ProgramEngine = FusedEngine(opened.session, opened.masked, exact=exact)
    else:
        engine = CryptenEngine(opened.session)
    try:
        yield engine
    finally:
        engine.close()


def _computed(
    engine: ProgramEngine, task: Task, weights: Stacked, share: torch.Tensor
) -> tuple[Distances[Any] | None, torch.Tensor]:
    """As `_predicted`; of a check of a new model no distances, and this party's share of whether it
    is to be refused. Of a model that is no RAN no distances, and what its outputs allow.
    """
    spec = task.snapshot.spec
    if isinstance(spec, ModelSpec):
        if len(task.snapshot.models) != 1:
            raise NotReady("the cohort serves one model, and has several")
        return None, answered(spec, {name: words[0] for name, words in weights.items()}, share)
    if task.check is None:
        return _predicted(engine, spec, task.rule, weights, share)
    parameters = {name: engine.share(words) for name, words in weights.items()}
    bounds = task.check.bounds
    words: torch.Tensor = refused(engine, spec, parameters, engine.share(share), bounds).share
    return None, words


def _predicted(
    engine: ProgramEngine, spec: RanSpec, rule: Rule, weights: Stacked, share: torch.Tensor
) -> tuple[Distances[Any], torch.Tensor]:
    """The distances that scores are made of, and this party's share of the answer."""
    parameters = {name: engine.share(words) for name, words in weights.items()}
    distances = measure(engine, spec, parameters, engine.share(share), rule)
    answer = decide(engine, distances, parameters["threshold"], rule, spec)
    words: torch.Tensor = answer.share
    return distances.together() if rule.one_subject else distances, words
