"""One party, or the dealer, that deviates from the protocol: which of its messages it changes.

A deviation runs in the real engine: the other party and the client do what they always do. The
transcript does not help, for whoever deviates computes its digests over what it sends
(docs/protocol.md#transcript).

    distances   adds to its share of each d_j, as if it had changed an opening of the squares
    answer      adds to its share of the answer, as it leaves
    message     adds a random word to one word of one exchange with the other party
    table       the dealer's table of the last choice says that one owner fails no comparison
    correction  the dealer adds a random word to one word of one kind of correction
"""

import secrets
from dataclasses import dataclass
from typing import Literal

import torch

from parties.mpc.crypten_backend.engine import Number
from parties.mpc.dealing import Dealer, DealerLink, SessionId
from parties.mpc.fixed_product import MaskedWeights
from parties.mpc.fused.choice import Choice
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.predict import Rule, decide, measure
from parties.mpc.session import Session
from parties.mpc.tuples import TupleKind
from parties.mpc.weight_masks import WeightMasks
from privedge.ran.spec import RanSpec
from privedge.sharing.fixed_point import SCALE
from privedge_lab.reference.recording import NearLink
from privedge_lab.reference.run import Program

Who = Literal["party 0", "party 1", "dealer"]
Point = Literal["distances", "answer", "message", "table", "correction"]

_MAX_ELEMENTS = 1 << 24
_RING_BITS = 64


@dataclass(frozen=True)
class Deviation:
    """What one operator does to every query, or to one row of it that it picks by chance.

    what: in words. asks: whose vector the client asks about, a stranger's or that of owner 0.
    added: what is added to which column, in real units for distances. at: the number of the
    exchange, or the first word of a kind of tuples. verify: the client asks about owner 0.
    """

    who: Who
    what: str
    point: Point
    asks: Literal["stranger", "owner"] = "stranger"
    added: tuple[tuple[int, float], ...] = ()
    at: int | str = 0
    one_row: bool = False
    verify: bool = False

    @property
    def party(self) -> int | None:
        """Which party deviates; None for the dealer."""
        return {"party 0": 0, "party 1": 1}.get(self.who)

    def rows(self, batch: int) -> list[int]:
        """Which rows it goes for. All are uniform to it, so it can only guess."""
        return [secrets.randbelow(batch)] if self.one_row else list(range(batch))


class Deviating:
    """Both parties and the dealer of one query, of whom one deviates."""

    def __init__(self, deviation: Deviation, contestants: int) -> None:
        """`contestants`: owners and public owners."""
        self._how = deviation
        self._contestants = contestants
        self._kept = WeightMasks(1 << 28)

    def program(self, spec: RanSpec, names: tuple[str, ...], rule: Rule) -> Program:
        """What both parties run: `predict`, with a look in between at who runs it."""

        def run(engine: FusedEngine, images: Number, *weights: Number) -> Number:
            parameters = dict(zip(names, weights, strict=True))
            reached = measure(engine, spec, parameters, images, rule)
            if self._acts(engine, "distances"):
                self._add(reached.owners.share, SCALE * SCALE)
            answer = decide(engine, reached, parameters["threshold"], rule, spec)
            if self._acts(engine, "answer"):
                self._add(answer.share, 1)
            return answer

        return run

    def _acts(self, engine: FusedEngine, point: Point) -> bool:
        return self._how.point == point and engine.party == self._how.party

    def _add(self, share: torch.Tensor, scale: int) -> None:
        for row in self._how.rows(share.size(0)):
            for column, value in self._how.added:
                share[row, column] += int(value * scale)

    def engine(self, session: Session, masked: MaskedWeights) -> FusedEngine:
        """The engine of one party, whose messages are changed if it is the one that deviates."""
        if self._how.point == "message" and session.party == self._how.party:
            honest, number = session.exchange, iter(range(1 << 10))

            def exchange(mine: torch.Tensor) -> torch.Tensor:
                if next(number) == self._how.at and mine.numel():
                    mine = _spoilt(mine)
                return honest(mine)

            setattr(session, "exchange", exchange)  # noqa: B010  # a method of this one session
        return FusedEngine(session, masked)

    def dealer(
        self, run: SessionId, seeds: tuple[bytes, bytes], weights: tuple[bytes, bytes], party: int
    ) -> DealerLink:
        """A party's link to the dealer."""
        kind = _Dealer if self._how.who == "dealer" else Dealer
        made = kind(run, seeds, weights, max_elements=_MAX_ELEMENTS, masks=self._kept)
        if isinstance(made, _Dealer):
            made.how, made.contestants = self._how, self._contestants
        return NearLink(made, party)


class _Dealer(Dealer):
    how: Deviation
    contestants: int

    def correct(self, party: int, counter: int, kind: TupleKind) -> torch.Tensor:
        correction = super().correct(party, counter, kind)
        if self.how.point == "correction" and kind.purpose.split()[0] == self.how.at:
            return _spoilt(correction)
        return correction

    def _derived(self, kind: TupleKind, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        values = super()._derived(kind, masks)
        if self.how.point == "table" and isinstance(kind, Choice):
            # Whatever opens, owner 0 failed nothing and everybody else something.
            table = values[0].view(values[0].size(0), -1, self.contestants)
            for row in self.how.rows(table.size(1)):
                table[:, row] = 0
                table[:, row, 0] = 1
        return values


def _spoilt(words: torch.Tensor) -> torch.Tensor:
    """A copy with a random word added to one of them."""
    changed = words.clone().reshape(-1)
    changed[secrets.randbelow(len(changed))] += secrets.randbits(_RING_BITS) - (
        1 << (_RING_BITS - 1)
    )
    return changed.reshape(words.shape)
