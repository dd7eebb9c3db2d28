"""Bits packed 64 to a word along the batch, and back. Pure; sees shares and openings alike.

Of n elements, element number i * W + w is bit i of word w, with W = ceil(n / 64). Bits that belong
to no element hold what their masks hold: opened they are uniform, like all others.
"""

import torch

WORD = 64


def words_for(elements: int) -> int:
    """How many words hold one bit of each element."""
    return -(-elements // WORD)


def planes(values: torch.Tensor) -> torch.Tensor:
    """(n,) int64 -> (64, W) int64: row b holds bit b of every element."""
    count = values.numel()
    width = words_for(count)
    rows = torch.empty(WORD * width, dtype=torch.int64, device=values.device)
    rows[:count] = values
    rows[count:] = 0
    # Transpose 64 x 64 bits by swapping ever smaller off-diagonal squares (Hacker's Delight 7-3).
    step = WORD // 2
    low = (1 << step) - 1
    scratch = torch.empty_like(rows[: rows.numel() // 2])
    while step:
        pairs = rows.view(WORD // (2 * step), 2, step, width)
        upper, lower = pairs[:, 0], pairs[:, 1]
        swap = scratch.view(upper.shape)
        torch.bitwise_right_shift(upper, step, out=swap)
        swap ^= lower
        swap &= low
        lower ^= swap
        swap <<= step
        upper ^= swap
        step //= 2
        low ^= low << step
    return rows.view(WORD, width)


def spread(row: torch.Tensor, count: int) -> torch.Tensor:
    """(W,) int64 -> (count,) int64 of 0 or -1: one bit of each element, as a mask of 64 bits."""
    # Each bit is moved to the sign, and the shift back copies it to all 64.
    to_the_top = torch.arange(WORD - 1, -1, -1, device=row.device).unsqueeze(1)
    bits = row.unsqueeze(0) << to_the_top
    bits >>= WORD - 1
    return bits.reshape(-1)[:count]
