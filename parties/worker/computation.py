"""One run on CrypTen: from a share of the query to a share of the answer, and what it cost."""

import time
from dataclasses import dataclass, field

import torch

from parties.worker.cancellation import Cancellation
from parties.worker.sessions import Opened, Sessions
from parties.worker.task import Task
from parties.worker.weights import Stacked, Weights
from privedge.mpc.crypten_backend.engine import CryptenEngine
from privedge.mpc.dealing import SessionId
from privedge.mpc.fused.engine import FusedEngine
from privedge.mpc.predict import predict
from privedge.rpc.deadline import Deadline
from privedge.sharing.cost import Cost


@dataclass(frozen=True)
class AnswerShare:
    """This party's share of the answer, int64."""

    words: torch.Tensor = field(repr=False)
    cost: Cost


class Computation:
    """Runs one task at a time, because CrypTen keeps its state in the process."""

    def __init__(self, sessions: Sessions, weights: Weights) -> None:
        self._sessions = sessions
        self._weights = weights

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
    ) -> AnswerShare:
        """Compute `task` on this share of its images, in step with the other party's worker.

        Without a share it computes on zeros, which is a rehearsal. Raises DigestMismatch for a
        damaged model, TranscriptMismatch if the parties saw different runs, and what Sessions.open
        raises. Then the other worker's half ends too.
        """
        with self._sessions.both_end(run):
            return self._run(run, task, share, deadline, cancellation)

    def _run(
        self,
        run: SessionId,
        task: Task,
        share: torch.Tensor | None,
        deadline: Deadline,
        cancellation: Cancellation,
    ) -> AnswerShare:
        started = time.perf_counter()
        if share is None:
            share = torch.zeros(task.shape, dtype=torch.int64)
        weights = self._weights.load(task.snapshot.id, task.snapshot.spec, task.snapshot.models)
        loaded = time.perf_counter()
        with self._sessions.open(run, task, deadline, cancellation) as opened:
            words = _predicted(opened, task, weights, share)
            # The share may leave only after both parties have compared what they saw.
            opened.session.confirm()
        prepared = opened.prepared
        cost = Cost(
            rounds=opened.session.rounds,
            bytes_to_peer=opened.session.bytes_sent,
            bytes_from_dealer=opened.bytes_from_dealer,
            load_s=loaded - started,
            online_s=time.perf_counter() - loaded,
            phases=opened.session.phases,
            offline_s=prepared.bundle.seconds if prepared else 0.0,
        )
        return AnswerShare(words, cost)


def _predicted(opened: Opened, task: Task, weights: Stacked, share: torch.Tensor) -> torch.Tensor:
    if task.method.engine == "fused":
        exact = task.method.rounding == "exact"
        engine: CryptenEngine = FusedEngine(opened.session, opened.masked, exact=exact)
    else:
        engine = CryptenEngine(opened.session)
    try:
        parameters = {name: engine.share(words) for name, words in weights.items()}
        answer = predict(engine, task.snapshot.spec, parameters, engine.share(share), task.rule)
        words: torch.Tensor = answer.share
        return words
    finally:
        engine.close()
