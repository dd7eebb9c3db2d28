"""Both parties of a making, in one process: messages go from one to the other as bytes."""

import os
from collections.abc import Callable, Sequence

import torch

from parties.mpc.dealing import TupleShares
from parties.mpc.fused.packing import planes
from parties.mpc.prg import KEY_BYTES, KeyStream
from parties.mpc.tuples import Sharing, TupleKind, combined
from parties.mpc.twoparty.extension import Picking, Planting, Receiver, Sender
from parties.mpc.twoparty.keys import Chosen, Pairs
from parties.mpc.twoparty.kinds import Parts, elements_of
from parties.mpc.twoparty.making import Choosing, Chunk, Giving, chunks, dealt, given
from privedge.sharing.ring import Words

Tamper = Callable[[str, bytes], bytes]


def honest(step: str, message: bytes) -> bytes:
    return message


def extension(pairing: bytes) -> tuple[Sender, Receiver]:
    planting = Planting(pairing)
    picking = Picking(pairing, planting.point)
    message, receiver = planting.planted(picking.points)
    return picking.picked(message), receiver


class Pairing:
    """Both parties after their base transfers: `ends[i]` are those of transfers that i sends."""

    def __init__(self) -> None:
        self.ends = [extension(os.urandom(16) + bytes([party])) for party in (0, 1)]
        self.bytes_sent = [0, 0]

    def transfers(self, sender: int, rows: int, width: int, tamper: Tamper) -> tuple[Pairs, Chosen]:
        one, other = self.ends[sender]
        message, chosen = other.extend(rows, width)
        self.bytes_sent[1 - sender] += len(message)
        return one.extend(rows, width, tamper("extension", message)), chosen

    def make(
        self,
        chunk: Chunk,
        tamper: Tamper = honest,
        starts: Sequence[Words | None] = (None, None),
    ) -> list[Parts]:
        """Both parties' parts. `starts`: what each has of `given`."""
        giver, chooser = chunk.giver, 1 - chunk.giver
        pairs, chosen = self.transfers(giver, chunk.forward, chunk.width, tamper)
        back_pairs, back_chosen = None, None
        if chunk.reverse:
            back_pairs, back_chosen = self.transfers(chooser, chunk.reverse, chunk.width, tamper)
        s = Giving(chunk, pairs, back_chosen, fresh(), starts[giver])
        p = Choosing(chunk, chosen, back_pairs, fresh(), starts[chooser])
        third = p.answer(tamper("2", s.message))
        fourth, of_s = s.finish(tamper("3", third))
        of_p = p.finish(tamper("4", fourth))
        self.bytes_sent[giver] += len(s.message) + len(fourth)
        self.bytes_sent[chooser] += len(third)
        return [of_s, of_p] if giver == 0 else [of_p, of_s]

    def tuples(
        self, kinds: Sequence[TupleKind], first: int = 0
    ) -> tuple[list[TupleShares], list[TupleShares]]:
        starts = [given(kinds, fresh()) for _ in (0, 1)]
        made = [self.make(chunk, starts=starts) for chunk in chunks(kinds, first)]
        return dealt(kinds, [each[0] for each in made]), dealt(kinds, [each[1] for each in made])


def fresh() -> KeyStream:
    return KeyStream(os.urandom(KEY_BYTES))


def assert_right(kind: TupleKind, zero: TupleShares, one: TupleShares) -> None:
    """What both shares open to is what the kind derives from its masks."""
    free = _opened(kind.free_sharing, zero.free, one.free)
    derived = _opened(kind.derived_sharing, zero.derived, one.derived)
    assert [tuple(part.shape) for part in free] == kind.free
    for sharing, wanted, found in zip(
        kind.derived_sharing, kind.derive(free), derived, strict=True
    ):
        assert wanted.shape == found.shape
        # A making fills up the last packed words with elements that nobody uses, `derive` with 0.
        there = _packed_ones(elements_of(kind)) if sharing == "xor" else torch.tensor(-1)
        assert torch.equal(wanted & there, found & there), kind.purpose


def _opened(
    sharings: list[Sharing], zero: list[torch.Tensor], one: list[torch.Tensor]
) -> list[torch.Tensor]:
    return [combined(*each) for each in zip(sharings, zero, one, strict=True)]


def _packed_ones(elements: int) -> torch.Tensor:
    return planes(torch.ones(elements, dtype=torch.int64))[0]
