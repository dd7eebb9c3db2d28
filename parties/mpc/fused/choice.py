"""Choose by small secret indices: [x = k], and its products with values. One round.

Each index x, 0 <= x < 2^bits, may have values y that belong to it (docs/protocol.md#choice). It is
moved to the top bits of a word: c = (x << 64 - bits) + r is opened. It is uniform under r, and its
top bits are those of r plus x, because nothing carries from the zeros below. Let s be the top bits
of r. The dealer shares the one-hot e[v] = [v = s], and its products with a mask w of each value.
With Y = y + w, opened in the same round,

    [x = k]     = e[c - k]
    [x = k] * y = e[c - k] * Y - (e * w)[c - k]         c its top bits, c - k modulo 2^bits

A tuple has 2^bits * (1 + values) words of correction for each index.
"""

from dataclasses import dataclass

import torch

from parties.mpc.session import Session
from parties.mpc.tuples import Shape, Sharing, logical_shift
from privedge.errors import ShareError

# A group of 16 has ranks below 16, and a block 2^7 places. A finalist has up to 70 comparisons to
# pass, and up to ten more for further parts of the images of one subject.
MAX_BITS = 7


@dataclass(frozen=True)
class Choice:
    """r (n) and w (n, values) uniform; e (2^bits, n) and e * w (2^bits, n, values), all additive.

    Without values there are neither w nor e * w.
    """

    indices: int
    values: int
    bits: int

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MAX_BITS:
            raise ShareError(f"choice tuple: between 1 and {MAX_BITS} bits")

    @property
    def purpose(self) -> str:
        return f"choice {self.indices} {self.values} {self.bits}"

    @property
    def free(self) -> list[Shape]:
        return [(self.indices,), *([(self.indices, self.values)] if self.values else [])]

    @property
    def derived(self) -> list[Shape]:
        return [(1 << self.bits, *shape) for shape in self.free]

    @property
    def free_sharing(self) -> list[Sharing]:
        return ["additive"] * len(self.free)

    @property
    def derived_sharing(self) -> list[Sharing]:
        return ["additive"] * len(self.free)

    def derive(self, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        r, *w = masks
        # One-hot of the top bits of r, by place; and of each mask w the same places.
        places = torch.arange(1 << self.bits, device=r.device).unsqueeze(1)
        hot = (places == logical_shift(r, 64 - self.bits)).long()
        return [hot, *(hot.unsqueeze(2) * mask for mask in w)]


def chosen(
    session: Session, index: torch.Tensor, values: torch.Tensor, *, below: int, places: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares of [index = k], (places, n), and of its products with values, (places, n, v), for
    k = 0 .. places - 1, from shares of index (n,), 0 <= index < below <= 128, and values (n, v).
    All int64. One round.
    """
    count, width = values.shape
    kind = Choice(count, width, max(1, (below - 1).bit_length()))
    shares = session.tuples.draw(kind)
    # 1. Open c = (index << 64 - bits) + r and Y = y + w, all in one exchange. Each word is uniform
    #    under a mask of its own.
    hidden = torch.cat([(index << (64 - kind.bits)) + shares.free[0], values.reshape(-1)])
    if width:
        hidden[count:] += shares.free[1].reshape(-1)
    opened = session.exchange(hidden).add_(hidden)
    # 2. Local: index = top(c) - top(r), so index = k where top(r) = top(c) - k. The place in the
    #    table is public and as random as r; the entry there is this party's share.
    wanted = torch.arange(places, device=index.device).unsqueeze(1)
    at = (logical_shift(opened[:count], 64 - kind.bits) - wanted) % (1 << kind.bits)
    each = torch.arange(count, device=index.device)
    hot = shares.derived[0][at, each]
    if not width:
        return hot, values.expand(places, count, 0)
    # 3. Local: [x = k] * y = [x = k] * Y - [x = k] * w, and the dealer shared the last product.
    products = hot.unsqueeze(2) * opened[count:].view(count, width)
    return hot, products - shares.derived[1][at, each]
