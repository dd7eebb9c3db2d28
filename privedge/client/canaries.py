"""Canary rows: questions with known answers, mixed into a batch (docs/protocol.md#canaries).

A party or dealer that deviates can change any answer. But the shares of all rows are uniform, so it
cannot tell for which of them the client knows the answer already:

    public owner   near a public owner's vector         the answer is that public owner
    stranger       the rivals' mean and spread, signs   the answer is nobody
                   of the operating system's

    1.  draw the canaries and the order of all rows, afresh for every try
    2.  ask all rows at once, as one query of 2, 4, 8, 16, 32 or 64 rows
    3.  compare the canaries' answers, keep evidence if one is wrong, and leave them out
    4.  if one stranger alone was named, it may be like an owner by chance: ask about it once more,
        among fresh canaries, and expect the same answer; no answer is a wrong one. Whoever forged
        the first one finds the row with probability 1 in 16: where a cohort takes fewer rows at
        once, several such questions are asked

`verify` gives one bit a row, and the answer to each canary is no.
"""

import json
import os
import secrets
import time
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import get_args

import numpy as np

from privedge import private_file
from privedge.client.cohort import Cohort
from privedge.config import Integrity
from privedge.errors import CheckpointError, ConfigError, IntegrityError, PrivEdgeError
from privedge.ran.any_spec import of_rans
from privedge.ran.rivals import Rivals
from privedge.ran.spec import RanSpec, Subspace
from privedge.sharing.combine import combine
from privedge.sharing.fixed_point import encode
from privedge.sharing.known import Reals
from privedge.sharing.question import ROWS_ASKED_AGAIN, Question
from privedge.sharing.ring import Words

# All rows of one query together.
SIZES = (2, 4, 8, 16, 32, 64)
# `verify` has so many where the configuration does not say.
USUAL = 3
# A public owner's canary is so much of the squared distance to the nearest other rival away.
_AWAY = 1 / 32
# Of shorter vectors, some of the strangers drawn here would be like an owner.
_LEAST_VALUES = 64

PUBLIC, STRANGER, AGAIN = "public owner", "stranger", "stranger, asked again"


def wanted(integrity: Integrity | None, cohort: Cohort, verify: bool, one_subject: bool) -> int:
    """How many canaries a question has. Where nothing is said, `verify` has USUAL, but not in
    cohorts of networks in layers, nor where there are no rivals to make them of.

    Raises ConfigError for a question that cannot have the ones that were asked for.
    """
    if integrity is None:
        layers = cohort.spec.layers
        able = cohort.rivals and len(layers) == 1 and isinstance(layers[0], Subspace)
        able = able and verify and not one_subject and cohort.max_batch > USUAL
        return USUAL if able else 0
    count = 0 if integrity == "none" else int(integrity.removeprefix("canaries:"))
    if count and one_subject:
        raise ConfigError("canaries: images of one subject get one answer; set integrity = none")
    if count and not (cohort.rivals if verify else cohort.public_owners):
        lacks = "public rivals" if verify else "public owners"
        raise ConfigError(f"canaries: cohort {cohort.name} has no {lacks}; set integrity = none")
    return count


def require_known(integrity: str | None) -> None:
    """Raise ConfigError for a setting that is none of those that there are."""
    known = get_args(Integrity)
    if integrity is not None and integrity not in known:
        raise ConfigError(f"integrity: one of {', '.join(known)}, not {integrity!r}")


def tell_apart(spec: RanSpec) -> bool:
    """Whether a vector that is drawn at random is like nobody: not so of pictures' own maps."""
    return spec.features.kind in ("encoder", "vector") and prod(spec.input_shape) >= _LEAST_VALUES


@dataclass(frozen=True)
class Doubt:
    """A stranger that was named: its words, uint64 (1, *input_shape), and the column that named.

    facts: of all canaries of that question, for evidence.
    """

    words: Words = field(repr=False)
    column: int
    facts: list[dict[str, object]] = field(repr=False)


def unsettled(
    question: Question, doubt: Doubt, error: PrivEdgeError, folder: Path | None
) -> IntegrityError:
    """The error of a doubt about `question` that could not be settled, because of `error`."""
    kept = _kept(folder, question, doubt.facts)
    return IntegrityError(
        "a canary was named, and asking about it again was refused: one of the three operators may "
        f"have deviated; no answer is reported, tell all three ({type(error).__name__}; {kept})"
    )


@dataclass(frozen=True)
class Mixed:
    """The rows of one query.

    words: uint64 (rows, *input_shape). own: where the client's rows are, in their order; none if
    it is a stranger that is asked about again. canaries: of each canary its row, its kind, and the
    column that must be 1; None for no column.
    """

    words: Words = field(repr=False)
    own: tuple[int, ...]
    canaries: tuple[tuple[int, str, int | None], ...]

    def sifted(
        self, shares: tuple[Words, Words], question: Question, folder: Path | None
    ) -> tuple[Words, Doubt | None]:
        """Add up the answers, look at the canaries', and return the client's own, (n, columns). The
        doubt is for `Canaries.again`; before it is settled, no answer may be used.

        Raises IntegrityError if a canary's is wrong; it names the file of evidence in `folder`.
        """
        opened = combine(*shares)
        wrong = []
        for row, kind, column in self.canaries:
            expected = np.zeros_like(opened[row])
            if column is not None:
                expected[column] = 1
            if (opened[row] != expected).any():
                wrong.append((row, kind))
        if self.own and len(wrong) == 1 and wrong[0][1] == STRANGER:
            row = wrong[0][0]
            if opened[row].max() == 1 == opened[row].sum():
                named = int(opened[row].argmax())
                doubt = Doubt(self.words[row : row + 1], named, self._facts(shares))
                return opened[list(self.own)], doubt
        if wrong:
            kept = _kept(folder, question, self._facts(shares))
            raise IntegrityError(
                f"{len(wrong)} of {len(self.canaries)} canaries came back wrong: one of the three "
                f"operators deviated; no answer is reported, tell all three ({kept})"
            )
        return opened[list(self.own)], None

    def _facts(self, shares: tuple[Words, Words]) -> list[dict[str, object]]:
        """Of canaries alone: the client's own rows and answers are nobody's business."""
        return [
            {
                "row": row,
                "kind": kind,
                "column": column,
                "shares": [s[row].tolist() for s in shares],
            }
            for row, kind, column in self.canaries
        ]


class Canaries:
    """The canaries of one kind of question to one cohort."""

    def __init__(self, cohort: Cohort, rivals: Rivals, count: int, *, verify: bool) -> None:
        """`count`: so many or more in a query. `rivals`: the cohort's; to identify, with a public
        owner among them. Raises ConfigError if the cohort takes too few rows at once.
        """
        largest = max((size for size in SIZES if size <= cohort.max_batch), default=0)
        if largest <= count:
            raise ConfigError(f"{count} canaries: the cohort takes {cohort.max_batch} rows at once")
        # How many rows of the client fit into one query.
        self.room = largest - count
        self._count = count
        self._again_rows = min(ROWS_ASKED_AGAIN, largest)
        self._rows = rivals.rows.reshape(len(rivals), -1).astype(np.float64)
        self._shape = cohort.spec.input_shape
        self._strangers = tell_apart(of_rans(cohort.spec, cohort.name)) and len(rivals) > 1
        # To `verify` the answer is no, whichever rival it is.
        self._public = len(rivals) if verify else cohort.public_owners
        # The columns of public owners follow those of the owners.
        self._column = None if verify else len(cohort.owners)

    def mixed(self, query: Words) -> Mixed:
        """Put canaries among the rows of `query`, uint64 (n, *input_shape), n up to `room`."""
        return self._in_order(query, len(query) + self._count, [])

    def again(self, doubt: Doubt) -> Mixed:
        """Put fresh canaries around a stranger that was named, and no own row."""
        once_more = (doubt.words, AGAIN, doubt.column)
        return self._in_order(doubt.words[:0], self._again_rows, [once_more])

    @property
    def times(self) -> int:
        """How many such questions it takes until guessing the row in all of them has probability
        1 in ROWS_ASKED_AGAIN or less. All together they have no more rows than that.
        """
        return -(-_log2(ROWS_ASKED_AGAIN) // _log2(self._again_rows))

    def _in_order(self, own: Words, least: int, more: list[tuple[Words, str, int | None]]) -> Mixed:
        """Mix `own` and `more` with so many canaries that it is one of SIZES, `least` or above."""
        size = next(size for size in SIZES if size >= least)
        drawn = more + [self._drawn(kind) for kind in self._kinds(size - len(own) - len(more))]
        # The order hides which rows matter, so it is the operating system's.
        order = list(range(size))
        secrets.SystemRandom().shuffle(order)
        words = np.empty((size, *self._shape), dtype=np.uint64)
        words[order] = np.concatenate([own, *(row for row, _, _ in drawn)])
        places = order[len(own) :]
        return Mixed(
            words,
            tuple(order[: len(own)]),
            tuple((at, kind, column) for at, (_, kind, column) in zip(places, drawn, strict=True)),
        )

    def _kinds(self, count: int) -> list[str]:
        """Half of them strangers, or one more; of a single one by chance. To `verify` all."""
        public = count // 2 if count > 1 else secrets.randbelow(2)
        if not self._strangers:
            public = count
        elif self._column is None:
            public = 0
        return [PUBLIC] * public + [STRANGER] * (count - public)

    def _drawn(self, kind: str) -> tuple[Words, str, int | None]:
        signs = _signs(self._rows.shape[1])
        if kind == STRANGER:
            row, column = stranger(self._rows, signs), None
        else:
            at = secrets.randbelow(self._public)
            row = near(self._rows, at, signs)
            column = None if self._column is None else self._column + at
        words = encode(row.astype(np.float32).reshape(1, *self._shape), what="canaries")
        return words, kind, column


def stranger(rows: Reals, signs: Reals) -> Reals:
    """Nobody: the mean of rivals' rows, (n, D), and with these signs their spread in each value."""
    return _as_long_as(rows.mean(axis=0) + rows.std(axis=0) * signs, rows[0])


def near(rows: Reals, at: int, signs: Reals) -> Reals:
    """Return a row near rows[at], in the direction of these signs."""
    row = rows[at]
    others = np.square(np.delete(rows, at, axis=0) - row).sum(axis=1)
    nearest = others.min() if len(others) else np.square(row).sum()
    step = np.sqrt(_AWAY * nearest / len(row))
    return _as_long_as(row + step * signs, row)


def _log2(power: int) -> int:
    """Return the logarithm of a power of two."""
    return power.bit_length() - 1


def _signs(count: int) -> Reals:
    """Return `count` of 1 and -1."""
    bits = np.unpackbits(np.frombuffer(os.urandom(-(-count // 8)), dtype=np.uint8))[:count]
    signs: Reals = 2 * bits.astype(np.float64) - 1
    return signs


def _as_long_as(
    row: Reals,
    like: Reals,
) -> Reals:
    """Return `row` with the length of `like`: a cohort may want all of one length."""
    length = float(np.linalg.norm(row))
    longer: Reals = row * (float(np.linalg.norm(like)) / length) if length else row
    return longer


def _kept(folder: Path | None, question: Question, canaries: list[dict[str, object]]) -> str:
    """Write down what operators need to look for it, and nothing of the client's own rows."""
    folder = folder or Path()
    path = folder / f"privedge-evidence-{question.query_id}.json"
    facts = {
        "query": question.query_id,
        "cohort": question.cohort,
        "snapshot": question.snapshot_id,
        "asked": "identify" if question.verify_owner is None else "verify",
        "rows": question.shape[0],
        "at": round(time.time()),
        "canaries": canaries,
    }
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        private_file.write(path, json.dumps(facts, indent=1).encode())
    except (CheckpointError, OSError) as error:
        return f"no evidence is kept: {error}"
    return f"evidence: {path}"
