"""What stands behind CrypTen's linear operations: each party carries them out on its own.

All are exact in the ring, and keep a value late that is. The names of the functions are those of
CrypTen's methods; install.py has the table.
"""

from collections.abc import Callable
from typing import Any

import torch

from parties.mpc.crypten_backend import running
from parties.mpc.crypten_backend.load import ArithmeticSharedTensor, FixedPointEncoder
from parties.mpc.crypten_backend.tensors import made
from parties.mpc.crypten_backend.words import Share, settle
from privedge.errors import NotSupported


def _aligned(shares: list[Share]) -> tuple[list[torch.Tensor], FixedPointEncoder, int]:
    """The words of all at the largest scale among them, and that scale."""
    encoder = max((share.encoder for share in shares), key=lambda each: each.scale)
    scales = [share.encoder.scale << share._late for share in shares]
    top = max(scales)
    words = [
        share._tensor if scale == top else share._tensor * (top // scale)
        for share, scale in zip(shares, scales, strict=True)
    ]
    return words, encoder, (top // encoder.scale).bit_length() - 1


def _by_words(name: str) -> Callable[..., Share]:
    """torch's operation of that name, on the words."""

    def local(self: Share, *args: Any, **kwargs: Any) -> Share:
        return made(getattr(self._tensor, name)(*args, **kwargs), self.encoder, self._late)

    return local


expand, getitem, reshape, total, unsqueeze = map(
    _by_words, ("expand", "__getitem__", "reshape", "sum", "unsqueeze")
)


def add(self: Share, y: Any) -> Share:
    if _alike(self, y):
        return made(self._tensor + y._tensor, self.encoder, self._late)
    return added(self, y, 1)


def sub(self: Share, y: Any) -> Share:
    if _alike(self, y):
        return made(self._tensor - y._tensor, self.encoder, self._late)
    return added(self, y, -1)


def _alike(x: Any, y: Any) -> bool:
    """Whether both are shares, of words at one scale."""
    if not type(x) is type(y) is ArithmeticSharedTensor:
        return False
    return x.encoder is y.encoder and x._late == y._late


def added(x: Share, y: Any, sign: int) -> Share:
    """x plus y, or minus for a sign of -1; y is a share, or public."""
    if isinstance(y, ArithmeticSharedTensor):
        (first, second), encoder, late = _aligned([x, y])
        return made(torch.add(first, second, alpha=sign), encoder, late)
    # A public constant is added by party 0 alone.
    public = _public(x, y)
    if running.party() == 0:
        words = torch.add(x._tensor, public, alpha=sign)
    elif not public.dim():
        words = x._tensor.clone()
    else:
        words = torch.broadcast_tensors(x._tensor, public)[0].clone()
    return made(words, x.encoder, x._late)


def _public(x: Share, y: Any) -> torch.Tensor:
    """Public numbers as words at the scale of x."""
    if torch.is_tensor(y):
        if y.dtype == torch.int64 and x.encoder.scale == 1:
            return y << x._late if x._late else y
    elif not isinstance(y, int | float):
        raise TypeError(f"Cannot add {type(y)} to {type(x)}")
    words: torch.Tensor = x.encoder.encode(y, device=x._tensor.device) << x._late
    return words


def stack(tensors: list[Any], *args: Any, **kwargs: Any) -> Share:
    words, encoder, late = _aligned([_wrapped(each) for each in tensors])
    return made(torch.stack(words, *args, **kwargs), encoder, late)


def cat(tensors: list[Any], *args: Any, **kwargs: Any) -> Share:
    first = tensors[0]
    if all(_alike(first, each) for each in tensors):
        joined = torch.cat([each._tensor for each in tensors], *args, **kwargs)
        return made(joined, first.encoder, first._late)
    words, encoder, late = _aligned([_wrapped(each) for each in tensors])
    return made(torch.cat(words, *args, **kwargs), encoder, late)


def _wrapped(tensor: Any) -> Share:
    return ArithmeticSharedTensor(tensor) if torch.is_tensor(tensor) else tensor


def pad(self: Share, pad: Any, mode: str = "constant", value: Any = 0) -> Share:
    if mode != "constant":
        raise NotSupported(f"padding with mode {mode}: constant only")
    if isinstance(value, ArithmeticSharedTensor):
        (mine, fill), encoder, late = _aligned([self, value])
        own = int(fill.item())
    else:
        mine, encoder, late = self._tensor, self.encoder, self._late
        public = int(encoder.encode(value).item()) << late if value else 0
        own = public if running.party() == 0 else 0
    return made(torch.nn.functional.pad(mine, pad, value=own), encoder, late)


def sum_pool2d(
    self: Share, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False
) -> Share:
    words = torch.nn.functional.avg_pool2d(
        self._tensor,
        kernel_size,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        divisor_override=1,
    )
    return made(words, self.encoder, self._late)


def neg(self: Share) -> Share:
    return made(-self._tensor, self.encoder, self._late)


def neg_(self: Share) -> Share:
    settle(self)._tensor.neg_()
    return self


def index_add_(self: Share, dim: int, index: torch.Tensor, tensor: Any) -> Share:
    settle(self)
    if isinstance(tensor, ArithmeticSharedTensor):
        self._tensor.index_add_(dim, index, tensor.share)
    elif running.party() == 0:
        self._tensor.index_add_(dim, index, self.encoder.encode(tensor))
    return self
