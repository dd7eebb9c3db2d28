"""What stands behind CrypTen's MPCTensor: signs, equality, ReLU and maxima.

A sign is four rounds, and so is a ReLU together with the truncation of its operand. The greatest of
up to 64 entries is found by comparing all pairs: ranks are sums of these bits, and the one of rank
0 is chosen (docs/protocol.md#choice). More entries go through groups of 16. A tie goes to the
earlier entry, where CrypTen draws lots.
"""

from typing import Any

import torch

from parties.mpc.crypten_backend import running
from parties.mpc.crypten_backend.load import (
    ArithmeticSharedTensor,
    MPCTensor,
    maximum,
    ptype,
    sign_by_circuit,
)
from parties.mpc.crypten_backend.tensors import made, whole, wrapped
from parties.mpc.crypten_backend.words import settle
from privedge.sharing.fixed_point import FRACTIONAL_BITS

Tensor = Any  # MPCTensor; CrypTen is untyped

# Up to so many entries are compared all with all; more in groups.
_ALL_PAIRS = 64
_GROUP = 16


def _whole(words: torch.Tensor) -> Tensor:
    return wrapped(whole(words))


def _is_arithmetic(tensor: Tensor) -> bool:
    return isinstance(tensor._tensor, ArithmeticSharedTensor)


def settled(tensor: Any) -> Any:
    """Truncate what is late in an operand, before it is copied."""
    if isinstance(tensor, MPCTensor) and _is_arithmetic(tensor):
        settle(tensor._tensor)
    return tensor


def additive(tensor: Tensor) -> Tensor:
    """The same with additive shares."""
    return tensor if _is_arithmetic(tensor) else tensor.to(ptype.arithmetic)


def div(self: Tensor, y: Any) -> Tensor:
    """x / y: a product with the reciprocal of a secret y, a truncation for a public one."""
    if isinstance(y, MPCTensor):
        return self.mul(y.reciprocal())
    result = self.shallow_copy()
    result._tensor = additive(self)._tensor / y
    return result


# --- Signs ----------------------------------------------------------------------------------------


def negative(words: torch.Tensor, bits: int = 63) -> torch.Tensor:
    """Shares of 1 where a word is negative, else 0, int64 of any shape. Four rounds."""
    return running.protocols().negative(words, bits=bits) if words.numel() else words


def ltz(self: Tensor, bits: int = 63) -> Tensor:
    """[x < 0]. Any positive multiple of x has its sign, so nothing is truncated. Cheaper for words
    below 2^bits, as mpc.engine.Engine.negative says.
    """
    if not _is_arithmetic(self):
        return sign_by_circuit(self)
    return _whole(negative(self._tensor._tensor, bits))


def eq(self: Tensor, y: Any) -> Tensor:
    """[x = y]: neither x - y nor y - x is negative. Four rounds."""
    return (settled(self) - settled(y))._eqz_2PC()


def ne(self: Tensor, y: Any) -> Tensor:
    return 1 - self.eq(y)


def eqz(self: Tensor) -> Tensor:
    words = additive(self)._tensor.share
    below, above = negative(torch.stack([words, -words]))
    return 1 - _whole(below + above)


def relu(self: Tensor) -> Tensor:
    """max(x, 0) in four rounds, in which a late x is truncated. |x| < 2^16 at scale 16."""
    share = self._tensor
    if not _is_arithmetic(self) or share.encoder.scale != 1 << FRACTIONAL_BITS:
        return self * self.ge(0)
    return self.relu_and_value()[0]


def relu_and_value(self: Tensor) -> tuple[Tensor, Tensor]:
    """max(x, 0), and x itself, of x at scale 16, in the rounds of one: an addition to CrypTen's."""
    share = self._tensor
    if not share._tensor.numel():
        return self.clone(), self.clone()
    if share._late not in (0, FRACTIONAL_BITS):
        settle(share)
    words = share._tensor if share._late else share._tensor << FRACTIONAL_BITS
    positive, value = running.protocols().relu_and_value(words)
    return wrapped(made(positive, share.encoder)), wrapped(made(value, share.encoder))


# --- The greatest entry ---------------------------------------------------------------------------


def max(self: Tensor, dim: int | None = None, keepdim: bool = False, one_hot: bool = True) -> Any:
    """The greatest entry; along `dim`, also which one it is."""
    settled(self)
    if dim is None or self.dim() == 0:
        best, _ = _greatest(self.flatten() if self.dim() else self.view(1), 0, False)
        return best if dim is None else (best, self.new(torch.ones(())))
    best, hot = _greatest(self, dim, True)
    if keepdim:
        best = best.unsqueeze(dim)
    if not one_hot:
        hot = maximum._one_hot_to_index(hot, dim, keepdim, self.device)
    return best, hot


def min(self: Tensor, dim: int | None = None, keepdim: bool = False, one_hot: bool = True) -> Any:
    """The least entry; along `dim`, also which one it is."""
    settled(self)
    result = (-self).max(dim=dim, keepdim=keepdim, one_hot=one_hot)
    return -result if dim is None else (-result[0], result[1])


def argmax(
    self: Tensor, dim: int | None = None, keepdim: bool = False, one_hot: bool = True
) -> Tensor:
    """Which entry is the greatest: one-hot, or its place."""
    if self.dim() == 0:
        return self.new(torch.ones(()) if one_hot else torch.zeros(()))
    if dim is None:
        hot = _greatest(self.flatten(), 0, True)[1].view(self.size())
    else:
        hot = _greatest(self, dim, True, with_value=False)[1]
    return hot if one_hot else maximum._one_hot_to_index(hot, dim, keepdim, self.device)


def argmin(
    self: Tensor, dim: int | None = None, keepdim: bool = False, one_hot: bool = True
) -> Tensor:
    """Which entry is the least: one-hot, or its place."""
    return (-self).argmax(dim=dim, keepdim=keepdim, one_hot=one_hot)


def _greatest(
    x: Tensor, dim: int, with_place: bool, with_value: bool = True
) -> tuple[Tensor, Tensor]:
    """The greatest entries along `dim`, without that dimension, and their one-hot, of x's shape.
    What is not asked for means nothing.
    """
    share = additive(x)._tensor
    rows = share._tensor.movedim(dim, -1)
    lead = rows.shape[:-1]
    best, hot = _tournament(rows.reshape(-1, rows.size(-1)), with_place, with_value)
    value = wrapped(made(best.view(lead), share.encoder, share._late))
    return value, _whole(hot.view(*lead, -1).movedim(-1, dim))


def _tournament(
    rows: torch.Tensor, with_place: bool, with_value: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of rows (R, n): the greatest entry (R,), and its one-hot (R, n). 5 rounds a level."""
    count, length = rows.shape
    # (R, C, 1 + k): each contestant's value, and which of its k entries it is, so far.
    field = rows.unsqueeze(2)
    while field.size(1) > 1:
        size = field.size(1) if field.size(1) <= _ALL_PAIRS else _GROUP
        last = field.size(1) <= size
        kept = field if with_value or not last else field[:, :, 1:]
        groups = -(-field.size(1) // size)
        filled = _filled(field, groups * size)
        values = _filled(kept, groups * size).reshape(count * groups * size, -1)
        hot, chosen = _first(filled[:, :, 0].reshape(-1, size), values)
        chosen = chosen.view(count, groups, size, -1)
        hot = hot.view(count, groups, size)
        field = _joined(chosen, hot, field.size(2) > 1, with_place, with_value or not last)
    best = field[:, 0, 0] if with_value else rows[:, 0]
    if not with_place:
        return best, rows[:, :0]
    places = field[:, 0, 1:] if with_value else field[:, 0]
    if length == 1:
        return best, (torch.ones_like(rows) if running.party() == 0 else torch.zeros_like(rows))
    return best, places[:, :length]


def _joined(
    chosen: torch.Tensor, hot: torch.Tensor, nested: bool, with_place: bool, with_value: bool
) -> torch.Tensor:
    """What goes up a level, (R, groups, ...): the best value of each group, and its one-hot."""
    count, groups = chosen.shape[:2]
    parts = []
    if with_value:
        parts.append(chosen[:, :, :, :1].sum(2))
    if with_place:
        own = chosen[:, :, :, 1 if with_value else 0 :] if nested else hot.unsqueeze(3)
        parts.append(own.reshape(count, groups, -1))
    return torch.cat(parts, 2)


def _filled(field: torch.Tensor, size: int) -> torch.Tensor:
    """Repeat the last contestant: it is later than its copy is early, so a copy never wins."""
    missing = size - field.size(1)
    if not missing:
        return field
    return torch.cat([field, field[:, -1:].expand(-1, missing, -1)], 1)


def _first(rows: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of rows (R, n), the one-hot of the first greatest, (R n,), and its products with values
    (R n, v). Five rounds.
    """
    count = rows.size(1)
    first, second = torch.triu_indices(count, count, 1)
    # Four rounds: does the later one overtake the earlier one?
    overtakes = negative(rows[:, first] - rows[:, second])
    # Local: the rank of an entry is how many overtake it, and how many earlier ones it does not
    # overtake.
    rank = torch.zeros_like(rows)
    rank.index_add_(1, first, overtakes)
    rank.index_add_(1, second, overtakes, alpha=-1)
    if running.party() == 0:
        rank += torch.arange(count)
    # One round: choose by rank 0. Ranks stay secret.
    hot, products = running.protocols().chosen(rank.reshape(-1), values, below=count, places=1)
    return hot[0], products[0]
