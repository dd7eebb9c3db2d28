"""The making of one kind's tuples by two parties, chunk by chunk. Pure: no step sends anything.

    receiver of transfers -> sender     extension, in each direction
    S -> P                              message 2
    P -> S                              message 3
    S -> P                              message 4, mostly empty

Elements of many tuples of one kind are made together and dealt out afterwards. A chunk has at most
CHUNK_WORDS * 64 of them, and the roles change from chunk to chunk, so that both parties have the
same work and send as much.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from parties.mpc.dealing import TupleShares
from parties.mpc.fused.choice import Choice
from parties.mpc.fused.packing import words_for
from parties.mpc.prg import KeyStream
from parties.mpc.tuples import Product, Shape, Sharing, TupleKind
from parties.mpc.twoparty.keys import WORD, Chosen, Pairs
from parties.mpc.twoparty.kinds import Kind, Making, Parts, elements_of, of_one, recipe, transfers
from parties.mpc.twoparty.messages import Reader
from parties.mpc.twoparty.role import Chooser, Giver, Role
from privedge.errors import ShareError, TranscriptMismatch
from privedge.sharing.ring import Words

CHUNK_WORDS = 64


@dataclass(frozen=True)
class Chunk:
    """Words `start` to `start + width` of the elements that are made together.

    giver: the party in the role S.
    kind: for one element.
    """

    kind: Kind
    start: int
    width: int
    giver: int

    @property
    def forward(self) -> int:
        """Rows of transfers that S sends."""
        return transfers(self.kind)[0]

    @property
    def reverse(self) -> int:
        """Rows of transfers that P sends."""
        return transfers(self.kind)[1]


def chunks(kinds: Sequence[TupleKind], first: int = 0) -> Iterator[Chunk]:
    """The chunks of tuples of one kind, whose shapes may differ; `first` is the first S.

    Raises ShareError for a kind that the two parties cannot make, or for different ones.
    """
    one = of_one(kinds[0])
    if any(of_one(kind) != one for kind in kinds):
        raise ShareError("tuples of different kinds cannot be made together")
    whole = sum(words_for(elements_of(kind)) for kind in kinds)
    for number, start in enumerate(range(0, whole, CHUNK_WORDS)):
        yield Chunk(one, start, min(CHUNK_WORDS, whole - start), (first + number) % 2)


def given(kinds: Sequence[TupleKind], stream: KeyStream) -> Words | None:
    """A party's fresh shares of what tuples of one kind start from, for all their elements,
    (64, W): the factors of products that fewer numbers may have than the result; else None.

    Public shapes say which elements have the same number. `stream`: fresh.
    """
    spread = []
    for kind in kinds:
        if isinstance(kind, Product):
            whole, fewer = _factors(kind)
            numbers: Words = stream.take(fewer).numpy().view(np.uint64)
            words = np.zeros((WORD, words_for(elements_of(kind))), np.uint64)
            words.reshape(-1)[: elements_of(kind)] = np.broadcast_to(numbers, whole).reshape(-1)
            spread.append(words)
    return np.concatenate(spread, axis=1) if spread else None


class Choosing:
    """P's side of one chunk."""

    def __init__(
        self,
        chunk: Chunk,
        chosen: Chosen,
        pairs: Pairs | None,
        random: KeyStream,
        given: Words | None = None,
    ) -> None:
        """`chosen`, `pairs`: the chunk's forward and reverse transfers. `random`: fresh. `given`:
        this party's, of all chunks.
        """
        self._role = Chooser(chosen, pairs, random)
        _give(self._role, chunk, given)
        self._making = recipe(chunk.kind)(self._role)

    def answer(self, message: bytes) -> bytes:
        """Message 3, from message 2. Raises TranscriptMismatch for one of the wrong size."""
        self._role.received = Reader(message)
        next(self._making)
        self._role.received.end()
        return self._role.sent.message()

    def finish(self, message: bytes) -> Parts:
        """P's shares, from message 4. Raises TranscriptMismatch for one of the wrong size."""
        self._role.received = Reader(message)
        parts = _returned(self._making)
        self._role.received.end()
        return parts


class Giving:
    """S's side of one chunk. `message` is number 2."""

    def __init__(
        self,
        chunk: Chunk,
        pairs: Pairs,
        chosen: Chosen | None,
        random: KeyStream,
        given: Words | None = None,
    ) -> None:
        """`pairs`, `chosen`: the chunk's forward and reverse transfers. `random`: fresh. `given`:
        this party's, of all chunks.
        """
        self._role = Giver(pairs, chosen, random)
        _give(self._role, chunk, given)
        self._making = recipe(chunk.kind)(self._role)
        next(self._making)
        self.message = self._role.sent.message()

    def finish(self, message: bytes) -> tuple[bytes, Parts]:
        """Message 4 and S's shares, from message 3. Raises TranscriptMismatch."""
        self._role.received = Reader(message)
        self._role.sent = type(self._role.sent)()
        parts = _returned(self._making)
        self._role.received.end()
        return self._role.sent.message(), parts


def dealt(kinds: Sequence[TupleKind], made: Sequence[Parts]) -> list[TupleShares]:
    """One party's shares of all these tuples, from its parts of all their chunks in order."""
    shares, at = [], 0
    for kind in kinds:
        place = at, words_for(elements_of(kind))
        free = [parts[0] for parts in made]
        derived = [parts[1] for parts in made]
        shares.append(
            TupleShares(
                _factors_of(kind, free, place)
                if isinstance(kind, Product)
                else _cut(kind, kind.free, kind.free_sharing, free, place),
                _cut(kind, kind.derived, kind.derived_sharing, derived, place),
            )
        )
        at += place[1]
    if at != sum(_width(parts) for parts in made):
        raise TranscriptMismatch("making randomness: tuples and chunks are not of one size")
    return shares


def _give(role: Role, chunk: Chunk, given: Words | None) -> None:
    if given is not None:
        role.given = given[:, chunk.start : chunk.start + chunk.width].reshape(-1)


def _factors(kind: Product) -> tuple[Shape, Shape]:
    """The shape of the factor that is drawn, which is the result's, and that of the given one."""
    (result,) = kind.derived
    return (result, kind.right) if kind.left == result else (result, kind.left)


def _factors_of(
    kind: Product, made: Sequence[Sequence[Words]], place: tuple[int, int]
) -> list[torch.Tensor]:
    """Both masks, as the kind has them: of the given one each number once."""
    whole, fewer = _factors(kind)
    drawn, spread = _cut(kind, [whole, whole], kind.free_sharing, made, place)
    for axis, size in enumerate((*[1] * (len(whole) - len(fewer)), *fewer)):
        spread = spread.narrow(axis, 0, size)
    given = spread.reshape(fewer).contiguous()
    return [drawn, given] if kind.left == whole else [given, drawn]


def _cut(
    kind: TupleKind,
    shapes: Sequence[Shape],
    sharings: Sequence[Sharing],
    made: Sequence[Sequence[Words]],
    place: tuple[int, int],
) -> list[torch.Tensor]:
    """Words `place` = (start, width) of each part of all chunks, shaped as the kind has it."""
    cut = []
    named = zip(shapes, sharings, *made, strict=True)
    for number, (shape, sharing, *parts) in enumerate(named):
        if sharing == "xor":
            cut.append(_tensor(_words(parts, place)).reshape(shape))
            continue
        # Element i * W + w is bit i of word w, in the chunk and in the tuple.
        by_words = [part.reshape(*part.shape[:-1], WORD, -1) for part in parts]
        of_tuple = _words(by_words, place)
        flat = of_tuple.reshape(*of_tuple.shape[:-2], -1)[..., : elements_of(kind)]
        if isinstance(kind, Choice) and number:
            # Its values come after its elements.
            flat = np.moveaxis(flat, -1, -2)
        cut.append(_tensor(flat).reshape(shape))
    return cut


def _words(parts: Sequence[Words], place: tuple[int, int]) -> Words:
    """Words (start, width) along the last axis of all parts side by side."""
    start, width = place
    taken, at = [], 0
    for part in parts:
        size = part.shape[-1]
        begin, end = max(start - at, 0), min(start + width - at, size)
        if begin < end:
            taken.append(part[..., begin:end])
        at += size
    whole: Words = np.concatenate(taken, axis=-1)
    return whole


def _width(parts: Parts) -> int:
    """How many words of elements a chunk's parts have: the first free one is never packed."""
    return int(parts[0][0].shape[-1]) // WORD


def _tensor(words: Words) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(words).view(np.int64))


def _returned(making: Making) -> Parts:
    try:
        next(making)
    except StopIteration as stopped:
        parts: Parts = stopped.value
        return parts
    raise TranscriptMismatch("making randomness: a recipe with a step too many")
