"""Words of b bits become words of the ring, in one round (docs/protocol.md#narrow-words).

A client or an owner shares v modulo 2^b, 4 <= b <= 62, so every string of bits is a share of some
v. In two's complement:

    1.  open c = v + 2^(b-2) + r mod 2^b                                       b bits
    2.  v' = c + u + (1 - c[b-1]) w                                            local
        with the dealer's u = -(r mod 2^b) - 2^(b-2) and w = 2^b r[b-1]

v' = v where |v| < 2^(b-2). In every case v' is v modulo 2^b, and |v'| < 0.75 * 2^b. So what is
computed from widened words can be bounded, whatever was sent; and if v' turns out to be below
2^(b-2) in absolute value, then it is v, and every other widening of v gives the same.

c is uniform, because r is and is used here only.
"""

from dataclasses import dataclass

import torch

from parties.mpc.session import Session
from parties.mpc.tuples import Elementwise
from privedge.errors import ShareError

_FEWEST_BITS, _MOST_BITS = 4, 62
_BYTES = 8


@dataclass(frozen=True)
class Widen(Elementwise):
    """r uniform; u and w, as above. All are shared additively."""

    bits: int

    _name = "widen"
    _derived_values = 2

    def __post_init__(self) -> None:
        if not _FEWEST_BITS <= self.bits <= _MOST_BITS:
            raise ShareError(f"widen tuple: between {_FEWEST_BITS} and {_MOST_BITS} bits")

    @property
    def purpose(self) -> str:
        return f"{super().purpose} {self.bits}"

    def derive(self, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        r = masks[0] & _ones(self.bits)
        wrap = (r >> (self.bits - 1)) << self.bits
        return [-r - (1 << (self.bits - 2)), wrap]


def widened(session: Session, x: torch.Tensor, *, bits: int) -> torch.Tensor:
    """Shares over Z_2^64 of what x (int64 of any shape) shares modulo 2^bits; x's shape. One round,
    `bits` bits a word, rounded up to whole bytes.

    Bits of x above `bits` are not looked at.
    """
    kind = Widen((x.numel(),), bits)
    shares = session.tuples.draw(kind)
    # 1. Open c, of which only the low bits are sent. Moved up, v is not negative.
    masked = x.reshape(-1) + shares.free[0]
    if session.party == 0:
        masked += 1 << (bits - 2)
    mine = packed(masked, bits)
    theirs = session.exchange(mine)
    opened = unpacked(mine, bits, x.numel()) + unpacked(theirs, bits, x.numel()) & _ones(bits)
    # 2. Local. c - r has wrapped around modulo 2^b only if r[b-1] = 1 and c[b-1] = 0
    #    (docs/protocol.md#truncation, with b bits in place of 64).
    u, w = shares.derived
    wide = (opened >> (bits - 1)).sub_(1).bitwise_and_(w)
    wide += u
    if session.party == 0:
        wide += opened
    return wide.view(x.shape)


def packed(words: torch.Tensor, bits: int) -> torch.Tensor:
    """The low `bits` of each of words (n,), in whole bytes, side by side: int64 words. What is left
    of the last one is zero.
    """
    width = -(-bits // _BYTES)
    raw = (words & _ones(bits)).view(torch.uint8).view(-1, _BYTES)[:, :width].reshape(-1)
    filled = torch.zeros(-(-raw.numel() // _BYTES) * _BYTES, dtype=torch.uint8, device=words.device)
    filled[: raw.numel()] = raw
    return filled.view(torch.int64)


def unpacked(filled: torch.Tensor, bits: int, count: int) -> torch.Tensor:
    """Inverse of `packed`, for `count` words; int64 (count,), not negative."""
    width = -(-bits // _BYTES)
    words = torch.zeros(count, dtype=torch.int64, device=filled.device)
    raw = filled.view(torch.uint8)[: count * width].view(count, width)
    words.view(torch.uint8).view(count, _BYTES)[:, :width] = raw
    return words & _ones(bits)


def _ones(bits: int) -> int:
    return (1 << bits) - 1
