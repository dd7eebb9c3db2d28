"""Random numbers, sharings of zero, and AND, behind CrypTen's own.

A random number is the sum, or the XOR, of a word of each party, which it draws from a key of its
operating system. Neither party knows it, nor does the dealer.
"""

import logging
import os
from typing import Any

import torch

from parties.mpc.crypten_backend.load import (
    ArithmeticSharedTensor,
    BinarySharedTensor,
    beaver,
    crypten,
)
from parties.mpc.prg import KEY_BYTES, KeyStream
from privedge.errors import NotSupported

_and_of_equal_shapes = beaver.AND


def conjunction(x: Any, y: Any) -> Any:
    """AND of two BinarySharedTensors whose shapes broadcast to one."""
    first, second = torch.broadcast_tensors(x.share, y.share)
    pair = []
    for of, words in ((x, first), (y, second)):
        broadcast = of.shallow_copy()
        broadcast.share = words.clone()
        pair.append(broadcast)
    return _and_of_equal_shapes(*pair)


def random_words(shape: Any) -> torch.Tensor:
    """This party's share of uniform words, int64, that neither party nor the dealer knows: a stream
    under a key of the operating system, used once.
    """
    return KeyStream(os.urandom(KEY_BYTES)).take(tuple(shape))


def random_bits(*size: Any, bits: int = 64, device: Any = None) -> Any:
    """BinarySharedTensor.rand: uniform words of so many bits."""
    mask = -1 if bits == 64 else (1 << bits) - 1
    return BinarySharedTensor.from_shares(random_words(_shape(size)) & mask, precision=0)


def random_ring(*size: Any, device: Any = None) -> Any:
    """ArithmeticSharedTensor.PRSS: uniform ring elements."""
    return ArithmeticSharedTensor.from_shares(random_words(_shape(size)))


def arithmetic_zeros(*size: Any, device: Any = None) -> Any:
    """A sharing of zero. Both parties would know CrypTen's, so it would hide nothing."""
    words = torch.zeros(_shape(size), dtype=torch.long)
    return ArithmeticSharedTensor.from_shares(words, precision=0)


def binary_zeros(*size: Any, device: Any = None) -> Any:
    """The same under XOR."""
    words = torch.zeros(_shape(size), dtype=torch.long)
    return BinarySharedTensor.from_shares(words, precision=0)


def _shape(size: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(size[0]) if size and isinstance(size[0], torch.Size | tuple | list) else size


def ring_element(size: Any, ring_size: int = 1 << 64, generator: Any = None, **_: Any) -> Any:
    """generate_random_ring_element: this party's share of uniform ring elements."""
    return bit_element(size, ring_size.bit_length() - 1, generator)


def bit_element(size: Any, bitlength: int | None = None, generator: Any = None, **_: Any) -> Any:
    """generate_kbit_random_tensor: the same of so many bits."""
    if generator is not None:
        raise NotSupported("no generator of torch is used here: nothing it makes hides anything")
    words = random_words(_shape((size,)))
    return words if bitlength in (None, 64) else words & ((1 << bitlength) - 1)


def feature_dropout(self: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Drop whole features at random; which ones is secret, where CrypTen's own are public."""
    if not training or p == 0:
        return self if inplace else self.clone()
    kept = crypten.rand(self.size()[:2]) > p
    while kept.dim() < self.dim():
        kept = kept.unsqueeze(-1)
    dropped = self.div(1 - p).mul(kept)
    if not inplace:
        return dropped
    # To CrypTen's log, in its words.
    logging.getLogger().warning(
        "CrypTen _feature_dropout does not support inplace computation during training."
    )
    self.copy_(dropped)
    return self
