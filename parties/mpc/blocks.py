"""A large cohort in blocks of 2^p owners: the best of each block by p levels of pairs.

Owner number a * G + b is number a of block b, of G blocks. Each level puts the upper half of all
contestants against the lower half, so that a block stays one column:

    4 rounds   the lesser of each pair, with its threshold, its place and the runners-up it beat;
               the greater one is the runner-up of this level, for nothing

What is left of a block is its best and the place of that in the block, a secret number below 2^p.
No place is looked up on the way, so words and rounds are public. In the end the row of all owners
is made of the row of blocks and of the winner's place, in one round (docs/protocol.md#pairs).
"""

import torch

from parties.mpc.engine import Engine, T


def best_of_blocks(
    engine: Engine[T], facts: T, pairs: int, *, bits: int, filler: int
) -> tuple[T, T]:
    """facts (B, N, 2): distance and threshold of each owner. Returns (B, G, 2 + p) the same of each
    block's best, followed by the runners-up that it beat, and (B, G, 1) its place in the block.

    bits: differences of distances are below 2^bits in absolute value. filler: a distance that is
    no less than any; it fills up the last places of some blocks. Four rounds for each of p levels.
    """
    owners = facts.size(1)
    count = -(-owners // (1 << pairs)) << pairs
    if count > owners:
        fillers = torch.zeros(count, 2, dtype=torch.int64)
        fillers[owners:, 0] = filler
        facts = engine.plus(engine.padded(facts, (0, 0, 0, count - owners)), fillers)
    place: T = facts[:, :, :0]
    for step in reversed(range(pairs)):
        facts, place = _level(engine, facts, place, bits=bits, weight=1 << step)
    return facts, place


def _level(engine: Engine[T], facts: T, place: T, *, bits: int, weight: int) -> tuple[T, T]:
    """Halve facts (B, C, k) and places (B, C, 1), or (B, C, 0) at first; `weight` is added to the
    places of the upper half. Four rounds.
    """
    (batch, count), known = facts.size()[:2], facts.size(2)
    half = count // 2
    entries = engine.joined([facts, place], 2)
    width = entries.size(2)
    lower, upper = (
        entries[:, part].reshape(batch * half, width) for part in (slice(half), slice(half, count))
    )
    row, greater, later = engine.lesser(lower, upper, bits=bits)
    row = row.reshape(batch, half, width)
    facts = engine.joined([row[:, :, :known], greater.reshape(batch, half, 1)], 2)
    place = engine.scaled(later, weight).reshape(batch, half, 1)
    return facts, place + row[:, :, known:] if width > known else place


def row_of_owners(engine: Engine[T], blocks: T, place: T, pairs: int, owners: int) -> T:
    """Of a one-hot row of blocks or zeros, (B, G), and a place in the block, (B,), 0 <= place <
    2^p, the row of owners (B, N). One round.
    """
    batch, count = blocks.size()
    places = 1 << pairs
    # [place = a] * blocks for every a: number a of every block, block by block.
    _, products = engine.chosen(place, blocks, below=places, places=places)
    row: T = products.transpose(0, 1).reshape(batch, places * count)[:, :owners]
    return row
