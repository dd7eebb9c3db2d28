"""Which of n small secret numbers are 0, 1, ...? And what belongs to those. One round.

The index x, 0 <= x < 2^bits, is moved to the top bits of a word, so that opening
c = (x << 64 - bits) + r tells nothing, and the top bits of c are those of r plus x, without a carry
from below. Of s, the top bits of r, the dealer shares the one-hot e[v] = [v = s], and its products
with a mask w for each value y that belongs to the index. With Y = y + w, opened in the same round,

    [x = k]     = e[c - k]
    [x = k] * y = e[c - k] * Y - (e * w)[c - k]         c - k modulo 2^bits

A tuple has 2^bits * (1 + values) words of correction for each index.
"""

from dataclasses import dataclass

import torch

from privedge.errors import ShareError
from privedge.mpc.session import Session
from privedge.mpc.tuples import Shape, Sharing, logical_shift

# A group of 16 has ranks below 16; a finalist can fail by a few rules more.
MAX_BITS = 6


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
        places = torch.arange(1 << self.bits, device=r.device).unsqueeze(1)
        hot = (places == logical_shift(r, 64 - self.bits)).long()
        return [hot, *(hot.unsqueeze(2) * mask for mask in w)]


def chosen(
    session: Session, index: torch.Tensor, values: torch.Tensor, *, below: int, places: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares of [index = k], (places, n), and of its products with values, (places, n, v), for
    k = 0 .. places - 1, from shares of index (n,), 0 <= index < below <= 64, and values (n, v).
    """
    count, width = values.shape
    kind = Choice(count, width, max(1, (below - 1).bit_length()))
    shares = session.tuples.draw(kind)
    hidden = torch.cat([(index << (64 - kind.bits)) + shares.free[0], values.reshape(-1)])
    if width:
        hidden[count:] += shares.free[1].reshape(-1)
    opened = session.exchange(hidden).add_(hidden)
    wanted = torch.arange(places, device=index.device).unsqueeze(1)
    at = (logical_shift(opened[:count], 64 - kind.bits) - wanted) % (1 << kind.bits)
    each = torch.arange(count, device=index.device)
    hot = shares.derived[0][at, each]
    if not width:
        return hot, values.expand(places, count, 0)
    products = hot.unsqueeze(2) * opened[count:].view(count, width)
    return hot, products - shares.derived[1][at, each]
