"""How often a wrong answer goes unnoticed if one operator deviates, with and without canaries.

A made cohort of unit vectors, like those of a face encoder: ten owners, twenty public rivals, two
of them public owners. A client asks about one row, as `Client` does it, of two parties and a dealer
in this process, one of whom deviates (attacks/tampering.py).
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from parties.mpc.predict import Rule, predict
from privedge.arrays import Features
from privedge.client.answers import read_answers
from privedge.client.canaries import Canaries, Doubt, Mixed, wanted
from privedge.client.cohort import Cohort
from privedge.config import Integrity
from privedge.errors import IntegrityError
from privedge.progress import Progress
from privedge.ran.presets import preset
from privedge.ran.rivals import Rivals
from privedge.ran.spec import RanSpec
from privedge.sharing.combine import combine
from privedge.sharing.fixed_point import LIMIT, encode
from privedge.sharing.known import Reals
from privedge.sharing.question import Question, new_query_id
from privedge.sharing.ring import Words
from privedge.user import subspace
from privedge_lab.attacks.tampering import Deviating, Deviation, Who
from privedge_lab.reference.clear import ClearEngine
from privedge_lab.reference.run import Masked, as_tensor, as_words, fresh_masks, run

NONE: Integrity = "none"
INTEGRITIES: tuple[Integrity, ...] = (NONE, "canaries:3", "canaries:7")

_VALUES, _COMPONENTS, _OWNERS, _RIVALS, _PUBLIC, _PHOTOS = 128, 4, 10, 20, 2, 5
_MARGIN = 0.7
# Two pictures of a person have a cosine of about .6, two people's .05, as behind a face encoder.
_ALIKE, _PERSON, _PICTURE = 0.25, 1.0, 0.8
# All owners' columns together, or one that nobody can win.
_FAR = 1 << 12


@dataclass(frozen=True)
class TamperingRow:
    """One deviation under one setting: shares of `tries` queries about one row each.

    wrong_undetected: the answer differs from the honest one, and the client is not told.
    caught: the client gets IntegrityError, for a canary or for a row that is no answer.
    """

    who: str
    what: str
    integrity: str
    tries: int
    wrong_undetected: float
    caught: float


class Made:
    """A made cohort. Equal seeds give equal ones."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 15])
        self._common = self._drawn(1)[0]
        self.spec: RanSpec = preset("vector", size=_VALUES, components=_COMPONENTS)
        self._people = self._person(_OWNERS)
        self.rivals = Rivals.of(self._pictures(self._person(_RIVALS)), (_VALUES,))
        self.rule = Rule(_MARGIN, rivals=self.rivals, public_owners=_PUBLIC)
        self.cohort = Cohort(
            name="made",
            spec=self.spec,
            margin=_MARGIN,
            owners=tuple(f"owner-{number}" for number in range(_OWNERS)),
            snapshot_id="0" * 64,
            max_batch=64,
            rivals=_RIVALS,
            rivals_sha256=self.rivals.digest,
            public_owners=_PUBLIC,
        )
        fitted = [
            subspace.fit(self._pictures(np.repeat(each[None], _PHOTOS, 0)), _COMPONENTS)
            for each in self._people
        ]
        self.parameters: dict[str, Words] = {
            "0.basis": encode(np.stack([basis for basis, _ in fitted])),
            "0.mean": encode(np.stack([mean for _, mean in fitted])),
            "threshold": encode(np.full((_OWNERS, 1), LIMIT - 1, np.float32)),
        }

    def asked(self, of: str) -> Words:
        """A picture of owner 0, or of somebody new: uint64 (1, D)."""
        person = self._people[:1] if of == "owner" else self._person(1)
        return encode(self._pictures(person))

    def _drawn(self, count: int) -> Reals:
        drawn: Reals = self._rng.normal(size=(count, _VALUES)) / np.sqrt(_VALUES)
        return drawn

    def _person(self, count: int) -> Reals:
        people: Reals = _ALIKE * self._common + _PERSON * self._drawn(count)
        return people

    def _pictures(self, people: Reals) -> Features:
        found = people + _PICTURE * self._drawn(len(people))
        unit: Features = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
        return unit


@dataclass
class _Tried:
    wrong: int = 0
    caught: int = 0


@dataclass(frozen=True)
class Asking:
    """A client of the made cohort, and what becomes of its questions if one operator deviates."""

    made: Made
    folder: Path
    masked: Masked = field(default_factory=fresh_masks, repr=False)

    def tried(self, deviation: Deviation, integrity: Integrity, tries: int) -> TamperingRow:
        """Ask `tries` questions of one row each."""
        outcome = _Tried()
        for _ in range(tries):
            query = self.made.asked(deviation.asks)
            honest = self.honest(query, deviation.verify)
            try:
                outcome.wrong += self.answer(query, deviation, integrity) != honest
            except IntegrityError:
                outcome.caught += 1
        return TamperingRow(
            who=deviation.who,
            what=deviation.what,
            integrity=integrity,
            tries=tries,
            wrong_undetected=outcome.wrong / tries,
            caught=outcome.caught / tries,
        )

    def honest(self, query: Words, verify: bool) -> str | None:
        """The answer in the clear."""
        parameters = {name: as_tensor(words) for name, words in self.made.parameters.items()}
        row = predict(
            ClearEngine(), self.made.spec, parameters, as_tensor(query), self._rule(verify)
        )
        return self._read(as_words(row), self._question(query, verify))

    def answer(self, query: Words, deviation: Deviation, integrity: Integrity) -> str | None:
        """What the client gets for one row. Raises IntegrityError if it notices something."""
        cohort, verify = self.made.cohort, deviation.verify
        count = wanted(integrity, cohort, verify, one_subject=False)
        if not count:
            opened = combine(*self._shares(query, deviation))
            return self._read(opened, self._question(query, verify))
        canaries = Canaries(cohort, self.made.rivals, count, verify=verify)
        mixed = canaries.mixed(query)
        opened, doubt = self._sifted(mixed, deviation)
        if doubt is not None:
            self._sifted(canaries.again(doubt), deviation)
        return self._read(opened, self._question(query, verify))

    def _sifted(self, mixed: Mixed, deviation: Deviation) -> tuple[Words, Doubt | None]:
        question = self._question(mixed.words, deviation.verify)
        return mixed.sifted(self._shares(mixed.words, deviation), question, self.folder)

    def _shares(self, words: Words, deviation: Deviation) -> tuple[Words, Words]:
        deviating = Deviating(deviation, _OWNERS + _PUBLIC)
        found = run(
            deviating.program(
                self.made.spec, tuple(self.made.parameters), self._rule(deviation.verify)
            ),
            words,
            *self.made.parameters.values(),
            masked=self.masked,
            dealer=deviating.dealer,
            engine=deviating.engine,
        )
        return as_words(found.shares[0]), as_words(found.shares[1])

    def _rule(self, verify: bool) -> Rule:
        rule = self.made.rule
        position = 0 if verify else None
        return Rule(
            rule.margin,
            rivals=rule.rivals,
            public_owners=rule.public_owners,
            verify_position=position,
        )

    def _question(self, words: Words, verify: bool) -> Question:
        cohort = self.made.cohort
        owner = cohort.owners[0] if verify else None
        return Question(new_query_id(), cohort.name, cohort.snapshot_id, words.shape, owner)

    def _read(self, opened: Words, question: Question) -> str | None:
        cohort = self.made.cohort
        return read_answers(opened, cohort.owners, question, cohort.public_owners)[0].owner


def rows(seed: int, tries: int, progress: Progress) -> Iterator[TamperingRow]:
    """Try every deviation under every setting."""
    with tempfile.TemporaryDirectory() as folder:
        asking = Asking(Made(seed), Path(folder))
        every = [(each, integrity) for each in deviations() for integrity in INTEGRITIES]
        for done, (deviation, integrity) in enumerate(every):
            progress("deviations", done, len(every))
            yield asking.tried(deviation, integrity, tries)


def deviations() -> Iterator[Deviation]:
    """Every deviation that is tried."""
    parties: tuple[Who, ...] = ("party 0", "party 1")
    for who in parties:
        yield from _at_the_release(who)
        yield from _at_the_distances(who)
        yield from (
            Deviation(who, f"a word of opening {number}", "message", "owner", at=number)
            for number in range(EXCHANGES)
        )
    yield Deviation("dealer", "all rows: last table always names t", "table")
    yield Deviation("dealer", "one row: last table names t", "table", one_row=True)
    yield from (
        Deviation("dealer", f"a word of a correction: {kind}", "correction", "owner", at=kind)
        for kind in KINDS
    )


# Exchanges of a run after the first one, and the kinds of its tuples by the first word of their
# purpose.
EXCHANGES = 8
KINDS = ("fixed", "truncated", "comparison", "choice")


def _at_the_release(who: Who) -> Iterator[Deviation]:
    for one_row in (False, True):
        rows = "one row" if one_row else "all rows"
        plus = ((0, 1.0),)
        yield Deviation(who, f"{rows}: answer +1 at t", "answer", added=plus, one_row=one_row)
        yield Deviation(
            who, f"{rows}: verify, no to yes", "answer", added=plus, one_row=one_row, verify=True
        )
        away = ((0, -1.0),)
        yield Deviation(
            who, f"{rows}: answer -1 at t, +1 at u", "answer", "owner", (*away, (1, 1.0)),
            one_row=one_row,
        )  # fmt: skip
        yield Deviation(who, f"{rows}: answer -1 at t", "answer", "owner", away, one_row=one_row)


def _at_the_distances(who: Who) -> Iterator[Deviation]:
    for one_row in (False, True):
        rows = "one row" if one_row else "all rows"
        for less in (2, 1, 0.75, 0.5):
            yield Deviation(
                who, f"{rows}: d_t - {less:g}", "distances", added=((0, -less),), one_row=one_row
            )
        yield Deviation(
            who, f"{rows}: verify, d_t - 1", "distances", added=((0, -1),), one_row=one_row,
            verify=True,
        )  # fmt: skip
        far = tuple((column, _FAR) for column in range(_OWNERS))
        yield Deviation(
            who, f"{rows}: all owners' d + 2^12", "distances", "owner", far, one_row=one_row
        )
        yield Deviation(who, f"{rows}: d_t + 2^12", "distances", "owner", far[:1], one_row=one_row)
        yield Deviation(
            who, f"{rows}: verify, d_t + 2^12", "distances", "owner", far[:1], one_row=one_row,
            verify=True,
        )  # fmt: skip
