"""What one party saw of a run, explained by other secrets of the other party.

Everything that party i sees of the honest party j is a secret under a mask of j's stream. So for
any other secrets of j there is exactly one stream of j under which i would have seen the very same
words. `tape` finds it: it runs j's side of the protocol on the other secrets, and whenever j opens
something, it chooses the mask so that the recorded words are sent.

    additive    x + r or x - r was sent: r' = r + (what was sent - what would be sent)
    XOR         the same with XOR
    narrow      of x + r only the low bits were sent: so only these of r' are chosen
    derived     of tuple n, party i has the share v_i; v follows from the masks, so v_j' = v - v_i

`replayed` then runs both parties and the dealer, all of them the real ones, with j's stream on that
tape. It is uniform, as a sum of what was uniform and a constant: so a view says nothing of which
secrets it comes from.
"""

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch

from parties.mpc import fixed_product
from parties.mpc.bundles import Supply
from parties.mpc.dealing import Ahead, Dealer, SessionId, TupleShares
from parties.mpc.fixed_product import FixedProduct, FixedWeight, MaskedWeights
from parties.mpc.fused.choice import Choice
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.fused.squares import TruncatedSquare
from parties.mpc.fused.tuples import Comparison, TreeTuple
from parties.mpc.products import runs
from parties.mpc.release import ReleaseKey, new_nonce
from parties.mpc.session import Session
from parties.mpc.tuples import Square, Truncation, TupleKind, combined, receiver
from parties.mpc.widening import Widen, packed, unpacked
from privedge_lab.reference import run as reference
from privedge_lab.reference.recording import NearLink, RecordingTuples
from tests.unit.mpc.pair import Outcome, Program, View

Weights = dict[tuple[str, int], torch.Tensor]
# Words of one tuple's stream of the honest party.
Tape = dict[int, torch.Tensor]
# One of a mask's words in the order in which they are opened, and how: added, subtracted, XOR, or
# added with only so many bits sent.
_Chunk = tuple[torch.Tensor, str | int]

_MAX_ELEMENTS = 1 << 24


def _chunks(kind: TupleKind, free: list[torch.Tensor]) -> list[_Chunk]:
    """The masks of a tuple in the order in which the protocol opens what they hide."""
    if isinstance(kind, FixedProduct):
        return [(free[0].view(-1), "-")]
    if isinstance(kind, TreeTuple):
        t, *levels = free[1].split_with_sizes(kind.mask_sizes)
        narrow = isinstance(kind, Comparison) and kind.bits < 63
        first: _Chunk = (free[0].view(-1), kind.compared + 1 if narrow else "+")
        return [first, *((rows.view(-1), "^") for rows in (*levels, t))]
    if isinstance(kind, Square):
        return [(free[0].view(-1), "-")]
    if isinstance(kind, Widen):
        return [(free[0].view(-1), kind.bits)]
    assert isinstance(kind, TruncatedSquare | Truncation | Choice), kind.purpose
    return [(mask.view(-1), "+") for mask in free]


def _narrow(sent: torch.Tensor, bits: int, mask: torch.Tensor) -> torch.Tensor:
    return unpacked(sent, bits, mask.numel())


@dataclass
class _Drawn:
    """One tuple of the honest party; its tensors are changed in place."""

    kind: TupleKind
    free: list[torch.Tensor]
    derived: list[torch.Tensor]
    product: tuple[torch.Tensor, torch.Tensor] | None = None


class Explainer:
    """The honest party's supply and its way to the other party, while its tape is being found."""

    def __init__(self, honest: int, recorded: Outcome, weights: tuple[Weights, Weights]) -> None:
        """`weights`: both parties' masks of weights in the recorded run."""
        self.run = recorded.sessions[0].tuples.run
        self.used: list[TupleKind] = []
        self.weights: Weights = {}
        self._honest = honest
        self._other: View = recorded.views[1 - honest]
        self._target = deque(recorded.views[honest].sent)
        self._received = deque(self._other.sent)
        self._others_weights = weights[1 - honest]
        self._pending: deque[_Chunk] = deque()
        self.drawn: list[_Drawn] = []

    # --- Supply -----------------------------------------------------------------------------------

    def draw(self, kind: TupleKind) -> TupleShares:
        drawn = self._draw(kind)
        return TupleShares(drawn.free, drawn.derived)

    def product(self, kind: FixedProduct, weight: FixedWeight) -> Ahead:
        opened = weight.opened()
        drawn = self._draw(kind)
        drawn.product = opened, torch.zeros(kind.derived[0], dtype=torch.int64)
        self._derive()
        return drawn.free[0], drawn.product[1]

    def weight_mask(self, name: str, shape: tuple[int, ...], start: int) -> torch.Tensor:
        mask = torch.zeros(shape, dtype=torch.int64)
        self.weights[name, start] = mask
        self._pending.appendleft((mask.view(-1), "-"))
        return mask

    def _draw(self, kind: TupleKind) -> _Drawn:
        free, derived = (
            [torch.zeros(shape, dtype=torch.int64) for shape in shapes]
            for shapes in (kind.free, kind.derived)
        )
        self.used.append(kind)
        self.drawn.append(_Drawn(kind, free, derived))
        self._pending.extend(_chunks(kind, free))
        return self.drawn[-1]

    # --- Session.exchange -------------------------------------------------------------------------

    def exchange(self, mine: torch.Tensor) -> torch.Tensor:
        """Choose the masks so that `mine` becomes what was sent in the recorded run."""
        wanted = self._target.popleft().reshape(-1)
        would, place = mine.reshape(-1).clone(), 0
        while place < would.numel():
            mask, how = self._pending.popleft()
            sent = mask.numel() if isinstance(how, str) else packed(mask, how).numel()
            part = slice(place, place + sent)
            place = part.stop
            assert place <= would.numel()
            if isinstance(how, int):
                mask += _narrow(wanted[part], how, mask) - _narrow(would[part], how, mask)
            elif how == "^":
                mask ^= wanted[part] ^ would[part]
            else:
                change = wanted[part] - would[part]
                mask += change if how == "+" else -change
        mine.copy_(wanted.view(mine.shape))
        self._derive()
        return self._received.popleft().reshape(-1).clone()

    def _derive(self) -> None:
        for number, drawn in enumerate(self.drawn):
            theirs = self._other.tuples[number][1]
            masks = [
                combined(sharing, *pair)
                for sharing, *pair in zip(
                    drawn.kind.free_sharing, drawn.free, theirs.free, strict=True
                )
            ]
            values = self._values(drawn.kind, masks)
            for sharing, value, share, mine in zip(
                drawn.kind.derived_sharing, values, theirs.derived, drawn.derived, strict=True
            ):
                mine.copy_(value - share if sharing == "additive" else value ^ share)
            if drawn.product is not None and isinstance(drawn.kind, FixedProduct):
                opened, ahead = drawn.product
                ahead.copy_(drawn.kind.apply(drawn.free[0], opened) + drawn.derived[0])

    def _values(self, kind: TupleKind, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        if not isinstance(kind, FixedProduct):
            return kind.derive(masks)
        parts = [
            self.weights[kind.name, run.start] + self._others_weights[kind.name, run.start]
            for run in runs(kind.masked)
        ]
        return [kind.apply(masks[0], torch.cat(parts))]

    @property
    def tape(self) -> Tape:
        """The words of each tuple's stream: free masks, and what this party does not receive."""
        found = {}
        for number, drawn in enumerate(self.drawn):
            parts = list(drawn.free)
            parts += [] if receiver(number) == self._honest else drawn.derived
            found[number] = torch.cat([part.reshape(-1) for part in parts])
        return found


class _Explaining(Session):
    """Party j's session while its tape is being found: no other party, no transcript."""

    def __init__(self, party: int, explainer: Explainer) -> None:
        # No link: what would be sent goes to the explainer.
        link: reference.QueueLink = reference.QueueLink.pair()[0]
        key = ReleaseKey((new_nonce(), new_nonce()), bytes(16))
        super().__init__(party, link, explainer, key)
        self._explainer = explainer

    def exchange(self, mine: torch.Tensor) -> torch.Tensor:
        return self._explainer.exchange(mine)


class _TapeStream:
    """prg.MaskStream, from a tape."""

    def __init__(self, words: torch.Tensor) -> None:
        self._words = words.clone()

    def take(self, shape: tuple[int, ...]) -> torch.Tensor:
        count = torch.Size(shape).numel()
        taken, self._words = self._words[:count], self._words[count:]
        assert taken.numel() == count
        return taken.clone().view(shape)

    def take_each(self, shapes: list[tuple[int, ...]]) -> list[torch.Tensor]:
        return [self.take(shape) for shape in shapes]


@dataclass(frozen=True)
class _TapedRun(SessionId):
    """A session in which the stream of one seed comes from a tape."""

    seed: bytes = field(default=b"", repr=False)
    tape: Tape = field(default_factory=dict, repr=False)

    def stream(self, seed, kind, counter):
        if seed == self.seed:
            return _TapeStream(self.tape[counter])
        return super().stream(seed, kind, counter)


@dataclass(frozen=True)
class Tapes:
    """What a coalition with party `known` fixes: its seeds. The rest is the honest party's."""

    known: int
    seeds: tuple[bytes, bytes]
    weight_seeds: tuple[bytes, bytes]
    run: SessionId
    outcome: Outcome


def masked_weights(seeds: tuple[bytes, bytes]) -> tuple[MaskedWeights, MaskedWeights]:
    """Of these weight seeds, and not opened yet."""
    return MaskedWeights(b"", seeds[0]), MaskedWeights(b"", seeds[1])


def supplies(run: SessionId, seeds: tuple[bytes, bytes], weight_seeds: tuple[bytes, bytes]):
    """Both parties' recorded tuples of one session with a dealer of these seeds."""
    dealers = [Dealer(run, seeds, weight_seeds, max_elements=_MAX_ELEMENTS) for _ in seeds]
    return tuple(
        RecordingTuples(party, run, seeds[party], NearLink(dealers[party], party))
        for party in (0, 1)
    )


def recorded(program: Program, shares: list[reference.Shares], known: int) -> Tapes:
    """A run whose tapes are kept."""
    run = SessionId(os.urandom(16))
    seeds, weight_seeds = ((os.urandom(32), os.urandom(32)) for _ in "ab")
    drawn: tuple[Supply, ...] = supplies(run, seeds, weight_seeds)
    outcome = reference.run(
        program, *shares, masked=masked_weights(weight_seeds), bundles=drawn, record=True
    )
    return Tapes(known, seeds, weight_seeds, run, outcome)


def replayed(
    program: Program, shares: list[reference.Shares], tapes: Tapes, patch: pytest.MonkeyPatch
) -> Outcome:
    """The run in which the honest party has the secrets in `shares`, and the tape on which `known`
    sees what it saw before. Its own shares must be those of the recorded run.
    """
    honest, original = 1 - tapes.known, fixed_product.weight_mask
    kinds = [kind for kind, _ in tapes.outcome.views[0].tuples if isinstance(kind, FixedProduct)]
    weights = tuple(
        {
            (kind.name, run.start): original(seed, kind.name, kind.masked, run)
            for kind in kinds
            for run in runs(kind.masked)
        }
        for seed in tapes.weight_seeds
    )
    explainer = Explainer(honest, tapes.outcome, weights)
    with patch.context() as patched:
        patched.setattr(fixed_product, "weight_mask", _asking(explainer, tapes, original))
        session = _Explaining(honest, explainer)
        engine = FusedEngine(session, masked_weights(tapes.weight_seeds)[honest])
        program(engine, *(engine.share(pair[honest]) for pair in shares))
        engine.close()
    taped = _TapedRun(tapes.run.session, tapes.seeds[honest], explainer.tape)
    drawn = supplies(taped, tapes.seeds, tapes.weight_seeds)
    with patch.context() as patched:
        patched.setattr(fixed_product, "weight_mask", _kept(explainer, tapes, original))
        return reference.run(
            program, *shares, masked=masked_weights(tapes.weight_seeds), bundles=drawn, record=True
        )


def _asking(explainer: Explainer, tapes: Tapes, original: Callable[..., torch.Tensor]):
    def weight_mask(seed, name, shape, run):
        assert seed == tapes.weight_seeds[1 - tapes.known]
        return explainer.weight_mask(name, (run.stop - run.start, *shape[1:]), run.start)

    return weight_mask


def _kept(explainer: Explainer, tapes: Tapes, original: Callable[..., torch.Tensor]):
    def weight_mask(seed, name, shape, run):
        if seed == tapes.weight_seeds[1 - tapes.known]:
            return explainer.weights[name, run.start].clone()
        return original(seed, name, shape, run)

    return weight_mask
