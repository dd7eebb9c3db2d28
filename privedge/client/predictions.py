"""Ask a cohort that serves a model: inputs -> shares -> both parties -> labels or scores.

Sees the client's own inputs and answers, in the clear.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from privedge import traces
from privedge.client.answers import require_shape
from privedge.client.cohort import Cohort
from privedge.client.exchange import Asked, Party, exchange
from privedge.errors import ConfigError, IntegrityError, PrivEdgeError, SnapshotChanged
from privedge.graph.spec import Label, ModelSpec
from privedge.ran import narrow
from privedge.ran.any_spec import of_model
from privedge.ran.model_inputs import inputs_of
from privedge.rpc.retry import Patience, retried
from privedge.sharing.combine import combine
from privedge.sharing.cost import Cost
from privedge.sharing.fixed_point import LIMIT, encode
from privedge.sharing.question import Question, new_query_id
from privedge.sharing.ring import Words

# A cohort may change between the call that describes it and the query.
_TRIES = 3


@dataclass(frozen=True)
class Prediction:
    """The answer to one input.

    Attributes:
        label: the place of the greatest score; of one score alone, whether it is above 0.
        name: what the model calls that label; None if it has no names.
        scores: the scores, where clients get them; else None.
    """

    label: int
    name: str | None = None
    scores: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Predictions:
    """The answers to one batch of inputs, and what they cost.

    Attributes:
        answers: one for each input, in order.
        seconds: the time from sending both shares to adding up the answer.
        costs: the cost that party 0 and party 1 report, in that order.
        bytes_sent, bytes_received: bytes of shares, to and from both parties together.
        request_ids: the id of each query, under which the servers' logs have it.
    """

    answers: tuple[Prediction, ...]
    seconds: float
    costs: tuple[Cost, Cost]
    bytes_sent: int
    bytes_received: int
    request_ids: tuple[str, ...] = ()

    def plus(self, other: "Predictions") -> "Predictions":
        """Return one reply with the answers of both, and the sums of their costs."""
        first, second = (a.plus(b) for a, b in zip(self.costs, other.costs, strict=True))
        return Predictions(
            self.answers + other.answers,
            self.seconds + other.seconds,
            (first, second),
            self.bytes_sent + other.bytes_sent,
            self.bytes_received + other.bytes_received,
            self.request_ids + other.request_ids,
        )


class Predictor:
    """Asks both parties. Safe to call from many threads."""

    def __init__(
        self, parties: Sequence[Party], patience: Patience, known: Callable[[str, bool], Cohort]
    ) -> None:
        """`known(name, anew)`: the description of a cohort, and whether to ask for it again."""
        self._parties, self._patience, self._known = parties, patience, known

    def predict(self, source: Any, name: str) -> Predictions:
        """Answer for each input of `source`. Raises what Client.predict does."""
        for left in reversed(range(_TRIES)):
            cohort = self._known(name, left < _TRIES - 1)
            spec = of_model(cohort.spec, name)
            words = encode(inputs_of(source, spec), what="query")
            narrow.require_narrow(words, narrow.word_bits(spec), "query")
            try:
                return self._in_batches(cohort, spec, words)
            except SnapshotChanged:
                if not left:
                    raise
        raise AssertionError("unreachable")

    def _in_batches(self, cohort: Cohort, spec: ModelSpec, words: Words) -> Predictions:
        parts = (words[at : at + cohort.max_batch] for at in range(0, len(words), cohort.max_batch))
        asked = [
            retried(partial(self._asked_once, cohort, spec, part), self._patience) for part in parts
        ]
        return reduce(Predictions.plus, asked)

    def _asked_once(
        self, cohort: Cohort, spec: ModelSpec, words: Words, timeout_s: float
    ) -> Predictions:
        """Ask with a fresh id and fresh shares."""
        question = Question(
            query_id=new_query_id(),
            cohort=cohort.name,
            snapshot_id=cohort.snapshot_id,
            shape=words.shape,
            word_bits=cohort.word_bits,
        )
        asked = Asked(question, (len(words), spec.width), timeout_s)
        started = perf_counter()
        try:
            with traces.span("client query", cohort=cohort.name, images=len(words)):
                first, second = exchange(self._parties, asked, words)
            seconds = perf_counter() - started
            answers = read(combine(first.words, second.words), spec, len(words))
        except PrivEdgeError as error:
            error.request_id = error.request_id or question.query_id
            raise
        sent, received = 2 * question.share_bytes, first.words.nbytes + second.words.nbytes
        costs, ids = (first.cost, second.cost), (question.query_id,)
        return Predictions(answers, seconds, costs, sent, received, ids)


def read(opened: Words, spec: ModelSpec, count: int) -> tuple[Prediction, ...]:
    """Return one answer for each row of `opened`, the sum of both parties' answer shares.

    opened: uint64 (count, spec.width): one-hot rows, or scores at 2^spec.fractional_bits.

    Raises IntegrityError if the shape is another one, or a row is no answer.
    """
    require_shape(opened.shape, (count, spec.width))
    if isinstance(spec.outputs, Label):
        if (opened > 1).any() or (opened.sum(axis=1) != 1).any():
            raise _no_answer()
        return tuple(Prediction(at, _name(spec, at)) for at in map(int, opened.argmax(axis=1)))
    values = opened.view(np.int64) / 2.0**spec.fractional_bits
    # A sum of shares that do not belong together is as good as never so small.
    if np.abs(values).max(initial=0) > LIMIT + 1:
        raise _no_answer()
    return tuple(_of_scores(spec, row) for row in values)


def _of_scores(spec: ModelSpec, row: npt.NDArray[np.float64]) -> Prediction:
    scores = tuple(map(float, row))
    at = int(row.argmax()) if len(row) > 1 else int(row[0] > 0)
    return Prediction(at, _name(spec, at), scores)


def _name(spec: ModelSpec, at: int) -> str | None:
    return spec.labels[at] if spec.labels else None


def _no_answer() -> IntegrityError:
    return IntegrityError(
        "the parties' shares do not add up to an answer: either values within the model left their "
        "range for this input (its owner can look), or a party went wrong; tell both operators"
    )


def require_no_canaries(integrity: str | None) -> None:
    """Raise ConfigError if canaries were asked for: a model that is no RAN has none."""
    if integrity not in (None, "none", "canaries:0"):
        raise ConfigError("canaries: are for cohorts of RANs; set integrity = none")
