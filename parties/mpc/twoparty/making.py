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
from parties.mpc.tuples import Shape, Sharing, TupleKind
from parties.mpc.twoparty.keys import WORD, Chosen, Pairs
from parties.mpc.twoparty.kinds import Kind, Making, Parts, elements_of, of_one, recipe, transfers
from parties.mpc.twoparty.messages import Reader
from parties.mpc.twoparty.role import Chooser, Giver
from privedge.errors import ShareError, TranscriptMismatch
from privedge.sharing.ring import Words

CHUNK_WORDS = 64


@dataclass(frozen=True)
class Chunk:
    """Some words of elements. `giver`: the party in the role S. `kind`: for one element."""

    kind: Kind
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
    left = sum(words_for(elements_of(kind)) for kind in kinds)
    giver = first
    while left:
        width = min(left, CHUNK_WORDS)
        yield Chunk(one, width, giver)
        left -= width
        giver = 1 - giver


class Choosing:
    """P's side of one chunk."""

    def __init__(
        self, chunk: Chunk, chosen: Chosen, pairs: Pairs | None, random: KeyStream
    ) -> None:
        """`chosen`, `pairs`: the chunk's forward and reverse transfers. `random`: fresh."""
        self._role = Chooser(chosen, pairs, random)
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
        self, chunk: Chunk, pairs: Pairs, chosen: Chosen | None, random: KeyStream
    ) -> None:
        """`pairs`, `chosen`: the chunk's forward and reverse transfers. `random`: fresh."""
        self._role = Giver(pairs, chosen, random)
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
        shares.append(
            TupleShares(
                _cut(kind, kind.free, kind.free_sharing, [parts[0] for parts in made], place),
                _cut(kind, kind.derived, kind.derived_sharing, [parts[1] for parts in made], place),
            )
        )
        at += place[1]
    if at != sum(_width(parts) for parts in made):
        raise TranscriptMismatch("making randomness: tuples and chunks are not of one size")
    return shares


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
