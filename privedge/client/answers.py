"""Read the opened answer vector: a one-hot row per image, or all zero for "unknown".

Anything else means that a party deviated or that a run went wrong; then nothing is reported.
"""

from dataclasses import dataclass

import numpy as np

from privedge.errors import IntegrityError
from privedge.sharing.cost import Cost
from privedge.sharing.question import Question
from privedge.sharing.ring import Words


@dataclass(frozen=True)
class Answer:
    """The answer to one picture.

    Attributes:
        owner: the name of the owner that the picture shows. None means "unknown" from `identify`,
            and "no" from `verify`. A public owner is "unknown" as well.
    """

    owner: str | None


@dataclass(frozen=True)
class Reply:
    """The answers to one batch of pictures, and what they cost.

    Attributes:
        answers: one for each picture, in order; a single one with `one_subject`.
        seconds: the time from sending both shares to adding up the answer.
        costs: the cost that party 0 and party 1 report, in that order.
        bytes_sent, bytes_received: bytes of shares, to and from both parties together.
        request_ids: the id of each query, under which the servers' logs have it. There are several
            if the pictures did not fit into one query.
        never_unknown: why the cohort never answers "unknown", whoever is on a picture; empty if it
            may.
        canaries: how many rows with known answers went with the pictures, and came back right.
    """

    answers: tuple[Answer, ...]
    seconds: float
    costs: tuple[Cost, Cost]
    bytes_sent: int
    bytes_received: int
    request_ids: tuple[str, ...] = ()
    never_unknown: str = ""
    canaries: int = 0

    def plus(self, other: "Reply") -> "Reply":
        """Return one reply with the answers of both, and the sums of their costs."""
        first, second = (a.plus(b) for a, b in zip(self.costs, other.costs, strict=True))
        return Reply(
            self.answers + other.answers,
            self.seconds + other.seconds,
            (first, second),
            self.bytes_sent + other.bytes_sent,
            self.bytes_received + other.bytes_received,
            self.request_ids + other.request_ids,
            self.never_unknown,
            self.canaries + other.canaries,
        )


def answer_shape(
    owners: tuple[str, ...], question: Question, public_owners: int = 0
) -> tuple[int, int]:
    """Return the shape of each party's share of the answer: (answers, owners + public owners)."""
    rows = 1 if question.one_subject else question.shape[0]
    return rows, len(owners) + public_owners if question.verify_owner is None else 1


def require_shape(shape: tuple[int, ...], expected: tuple[int, int]) -> None:
    """Raise IntegrityError if an answer has another shape than the question asks for."""
    if shape != expected:
        raise IntegrityError(f"the parties answered {shape} instead of {expected}; ask again")


def read_answers(
    opened: Words, owners: tuple[str, ...], question: Question, public_owners: int = 0
) -> tuple[Answer, ...]:
    """Return one answer for each row of `opened`, the sum of both parties' answer shares.

    opened: uint64 (answers, owners + public owners), or (answers, 1) for a question with
        `verify_owner`.

    Raises IntegrityError if the shape is another one, or a row is neither one-hot nor all zero.
    """
    names: tuple[str | None, ...] = (*owners, *[None] * public_owners)
    if question.verify_owner is not None:
        names = (question.verify_owner,)
    require_shape(opened.shape, answer_shape(owners, question, public_owners))
    if (opened > 1).any() or (opened.sum(axis=1) > 1).any():
        raise IntegrityError(
            "the parties' shares do not add up to an answer; ask again, and tell both operators"
        )
    return tuple(Answer(names[int(np.argmax(row))] if row.any() else None) for row in opened)
