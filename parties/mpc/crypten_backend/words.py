"""The words behind CrypTen's ArithmeticSharedTensor, and late values.

A product of two numbers at scale 2^f is at 2^2f. It is not truncated at once: `_late` counts the
bits that are still to be cut. Additions keep it, because the other operand is brought to the larger
scale. ReLU, signs, squares and divisions take it in for nothing. Everything else reads `.share`,
which truncates first, in one round and once; so an operation that nobody thought of is right too.

Two truncations of one value may differ by a unit, so a value that is to be equal to a copy of
itself is settled before it is copied (comparing.py).

The names of the functions are those of CrypTen's methods; install.py has the table.
"""

from typing import Any

import torch

from parties.mpc.crypten_backend import marks, running
from parties.mpc.crypten_backend.load import FixedPointEncoder
from parties.mpc.crypten_backend.provider import MOST_DIMENSIONS
from parties.mpc.crypten_backend.tensors import made

Share = Any  # ArithmeticSharedTensor; CrypTen is untyped


def get_share(self: Share) -> torch.Tensor:
    """This party's words at the encoder's scale; a late value is truncated now, in one round."""
    return settle(self)._tensor  # type: ignore[no-any-return]


def set_share(self: Share, words: torch.Tensor) -> None:
    self._tensor = words
    self._late = 0
    self._mark = None


def get_data(self: Share) -> torch.Tensor:
    # What is done to `data` leaves no trace, so there must be no mark on it.
    marks.forget(self)
    return settle(self)._tensor.data  # type: ignore[no-any-return]


def set_data(self: Share, words: torch.Tensor) -> None:
    marks.forget(self)
    self._late = 0
    self._tensor.set_(words)


def settle(share: Share) -> Share:
    """Truncate a late value. The object keeps its identity; its words are new ones."""
    if share._late:
        bits, share._late = share._late, 0
        share._tensor = truncated(share._tensor, bits)
    return share


def truncated(words: torch.Tensor, bits: int) -> torch.Tensor:
    """floor(x / 2^bits) or one unit more, or as the run rounds; int64 of x's shape."""
    if not words.numel():
        return words
    return running.protocols().truncate(dealt(words), bits=bits).view(words.shape)


def dealt(words: torch.Tensor) -> torch.Tensor:
    """The same words in a shape that the dealer takes."""
    return words if 1 <= words.dim() <= MOST_DIMENSIONS else words.reshape(-1)


def decode(self: FixedPointEncoder, tensor: torch.Tensor | None) -> torch.Tensor | None:
    """Words as numbers, float32; whole ones stay int64. CrypTen's own is off by 1 for negative
    numbers a little above a whole one.
    """
    if tensor is None or self._scale == 1:
        return tensor
    numbers: torch.Tensor = tensor.double() / self._scale
    return numbers.float()


def clone(self: Share) -> Share:
    return made(self._tensor.clone(), self.encoder, self._late)


def shallow_copy(self: Share) -> Share:
    return made(self._tensor, self.encoder, self._late)


def copy_(self: Share, other: Share) -> None:
    marks.forget(self)
    words = other.share
    if self._late:
        # A view of these words may be late as well: it keeps them.
        self._tensor, self._late = words.clone(), 0
    else:
        self._tensor.copy_(words)
    self.encoder = other.encoder


def t(self: Share) -> Share:
    return _turned(self, self._tensor.t())


def transpose(self: Share, *dimensions: int, **named: int) -> Share:
    words = self._tensor.transpose(*dimensions, **named)
    last_two = {dim % self._tensor.dim() for dim in (*dimensions, *named.values())} == {
        self._tensor.dim() - 1,
        self._tensor.dim() - 2,
    }
    return _turned(self, words) if last_two else made(words, self.encoder, self._late)


def _turned(share: Share, words: torch.Tensor) -> Share:
    result = made(words, share.encoder, share._late)
    mark = marks.current(share)
    result._mark = mark and mark.turned(words)
    return result
