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

    owner: the name of the owner whose picture it is; None for unknown, or for "no" when verifying.
    """

    owner: str | None


def read_answers(opened: Words, owners: tuple[str, ...], question: Question) -> tuple[Answer, ...]:
    """opened: (answers, owners), or (answers, 1) when verifying. Raises IntegrityError."""
    names = owners if question.verify_owner is None else (question.verify_owner,)
    expected = (1 if question.one_subject else question.shape[0], len(names))
    if opened.shape != expected:
        raise IntegrityError(
            f"the parties answered {opened.shape} instead of {expected}; ask again"
        )
    if (opened > 1).any() or (opened.sum(axis=1) > 1).any():
        raise IntegrityError(
            "the parties' shares do not add up to an answer; ask again, and tell both operators"
        )
    return tuple(Answer(names[int(np.argmax(row))] if row.any() else None) for row in opened)
