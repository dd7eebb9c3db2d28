"""Read the opened answer vector: a one-hot row per image, or all zero for "unknown".

Anything else means that a party deviated or that a run went wrong; then nothing is reported.
"""

from dataclasses import dataclass

import numpy as np

from privedge.errors import IntegrityError
from privedge.sharing.question import Question
from privedge.sharing.ring import Words


@dataclass(frozen=True)
class Answer:
    """The answer to one picture.

    Attributes:
        owner: the name of the owner that the picture shows. None means "unknown" from `identify`,
            and "no" from `verify`.
    """

    owner: str | None


def answer_shape(owners: tuple[str, ...], question: Question) -> tuple[int, int]:
    """Return the shape of each party's share of the answer: (answers, owners)."""
    rows = 1 if question.one_subject else question.shape[0]
    return rows, len(owners) if question.verify_owner is None else 1


def require_shape(shape: tuple[int, ...], expected: tuple[int, int]) -> None:
    """Raise IntegrityError if an answer has another shape than the question asks for."""
    if shape != expected:
        raise IntegrityError(f"the parties answered {shape} instead of {expected}; ask again")


def read_answers(opened: Words, owners: tuple[str, ...], question: Question) -> tuple[Answer, ...]:
    """Return one answer for each row of `opened`, the sum of both parties' answer shares.

    opened: uint64 (answers, owners), or (answers, 1) for a question with `verify_owner`.

    Raises IntegrityError if the shape is another one, or a row is neither one-hot nor all zero.
    """
    names = owners if question.verify_owner is None else (question.verify_owner,)
    require_shape(opened.shape, answer_shape(owners, question))
    if (opened > 1).any() or (opened.sum(axis=1) > 1).any():
        raise IntegrityError(
            "the parties' shares do not add up to an answer; ask again, and tell both operators"
        )
    return tuple(Answer(names[int(np.argmax(row))] if row.any() else None) for row in opened)
