"""What stands behind CrypTen's ArithmeticSharedTensor: products, truncation, and late values.

A product of two numbers at scale 2^f is at 2^2f. It is not truncated at once: `_late` counts the
bits that are still to be cut. Additions keep it, because the other operand is brought to the larger
scale. ReLU, signs, squares and divisions take it in for nothing. Everything else reads `.share`,
which truncates first, in one round and once; so an operation that nobody thought of is right too.

Two truncations of one value may differ by a unit, so a value that is to be equal to a copy of
itself is settled before it is copied (comparing.py).

The names of the functions are those of CrypTen's methods; install.py has the table.
"""

import math
from typing import Any

import torch

from parties.mpc.crypten_backend import marks, running
from parties.mpc.crypten_backend.fixed import fixed_product
from parties.mpc.crypten_backend.load import ArithmeticSharedTensor, FixedPointEncoder
from parties.mpc.crypten_backend.provider import MOST_DIMENSIONS
from parties.mpc.crypten_backend.ranks import secret_product
from parties.mpc.crypten_backend.tensors import made
from privedge.errors import NotSupported, RangeError
from privedge.sharing.fixed_point import FRACTIONAL_BITS

Share = Any  # ArithmeticSharedTensor; CrypTen is untyped

# A public divisor becomes a public factor of so many fractional bits. With |x| < 2^32 and a
# quotient of at most 2^32 the product stays below 2^62, as truncation needs.
_RECIPROCAL_BITS = 30
_MOST_BITS = 62


# --- Words and their scale ------------------------------------------------------------------------


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
    """floor(x / 2^bits) or one unit more, or as the engine rounds; int64 of x's shape."""
    if not words.numel():
        return words
    engine = running.engine()
    share: torch.Tensor = engine.truncate(engine.share(_dealt(words)), bits=bits).share
    return share.view(words.shape)


def _dealt(words: torch.Tensor) -> torch.Tensor:
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


def _aligned(shares: list[Share]) -> tuple[list[torch.Tensor], FixedPointEncoder, int]:
    """The words of all at the largest scale among them, and that scale. Local."""
    encoder = max((share.encoder for share in shares), key=lambda each: each.scale)
    scales = [share.encoder.scale << share._late for share in shares]
    top = max(scales)
    words = [
        share._tensor if scale == top else share._tensor * (top // scale)
        for share, scale in zip(shares, scales, strict=True)
    ]
    return words, encoder, (top // encoder.scale).bit_length() - 1


# --- Linear operations: local ---------------------------------------------------------------------


def stack(tensors: list[Any], *args: Any, **kwargs: Any) -> Share:
    words, encoder, late = _aligned([_wrapped(each) for each in tensors])
    return made(torch.stack(words, *args, **kwargs), encoder, late)


def cat(tensors: list[Any], *args: Any, **kwargs: Any) -> Share:
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
        public = int(encoder.encode(value).item()) << late
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


# --- Sums and products ----------------------------------------------------------------------------


def arithmetic_function(
    self: Share, y: Any, op: str, inplace: bool = False, **options: Any
) -> Share:
    """add, sub, mul, matmul, and convolutions, with a public or secret second operand."""
    private = isinstance(y, ArithmeticSharedTensor)
    if not private and not isinstance(y, int | float) and not torch.is_tensor(y):
        raise TypeError(f"Cannot {op} {type(y)} with {type(self)}")
    if op in ("add", "sub"):
        result = _added(self, y, 1 if op == "add" else -1, private)
    elif private:
        result = _multiplied(self, y, op, options)
    else:
        result = _scaled(self, y, op, options)
    return _written(self, result) if inplace else result


def arithmetic_function_(self: Share, y: Any, op: str, **options: Any) -> Share:
    return arithmetic_function(self, y, op, inplace=True, **options)


def _written(share: Share, result: Share) -> Share:
    """Put a result in the place of an operand, whose words stay the same object."""
    marks.forget(share)
    words = result.share
    if share._late:
        share._tensor, share._late = words, 0
    else:
        share._tensor.set_(words if words.is_contiguous() else words.contiguous())
    share.encoder = result.encoder
    return share


def _added(x: Share, y: Any, sign: int, private: bool) -> Share:
    if private:
        (first, second), encoder, late = _aligned([x, y])
        return made(torch.add(first, second, alpha=sign), encoder, late)
    # A public constant is added by party 0 alone.
    public = x.encoder.encode(y, device=x._tensor.device) << x._late
    if running.party() == 0:
        words = torch.add(x._tensor, public, alpha=sign)
    else:
        words = torch.broadcast_tensors(x._tensor, public)[0].clone()
    return made(words, x.encoder, x._late)


def _scaled(x: Share, y: Any, op: str, options: dict[str, Any]) -> Share:
    """A product with public numbers. Local, but for the truncation that it may be late for."""
    if isinstance(y, int) and op == "mul":
        return made(x._tensor * y, x.encoder, x._late)
    whole = _whole(y)
    if whole is not None:
        # Whole numbers keep the scale: nothing is to be truncated.
        return made(_torch(op, x._tensor, whole, options), x.encoder, x._late)
    if x.encoder.scale == 1:
        # x is whole, so the result has the scale of y.
        encoder = FixedPointEncoder()
        return made(_torch(op, x._tensor, encoder.encode(y), options), encoder, x._late)
    words, public = settle(x)._tensor, x.encoder.encode(y, device=x._tensor.device)
    return made(_torch(op, words, public, options), x.encoder, _bits(x.encoder))


def _torch(op: str, x: torch.Tensor, y: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
    result: torch.Tensor = getattr(torch, op)(x, y, **options)
    return result


def _whole(y: Any) -> torch.Tensor | None:
    """Public numbers as int64, if all of them are whole numbers."""
    tensor = y if torch.is_tensor(y) else torch.tensor(y)
    if not tensor.dtype.is_floating_point:
        return tensor.long()
    if not bool(torch.isfinite(tensor).all()):
        raise RangeError("a public operand is not finite")
    return tensor.long() if bool((tensor == tensor.trunc()).all()) else None


def _multiplied(x: Share, y: Share, op: str, options: dict[str, Any]) -> Share:
    """A product of two secrets. One round."""
    late = 0
    if x.encoder.scale > 1 and y.encoder.scale > 1:
        settle(x)
        settle(y)
        encoder, late = x.encoder, _bits(y.encoder)
    else:
        # One of them is whole, and the other one may stay late.
        encoder = x.encoder if x.encoder.scale > 1 else y.encoder
    late += x._late + y._late
    words = fixed_product(x._tensor, y, op, options)
    if words is None:
        words = secret_product(op, x._tensor, y._tensor, options)
    return made(words, encoder, late)


def _bits(encoder: FixedPointEncoder) -> int:
    return int(encoder.scale).bit_length() - 1


def mul(self: Share, y: Any) -> Share:
    return arithmetic_function(self, y, "mul")


def mul_(self: Share, y: Any) -> Share:
    return arithmetic_function(self, y, "mul", inplace=True)


def square(self: Share) -> Share:
    """One round. Of a late value, the square of what truncation gives, in the same round."""
    engine = running.engine()
    bits = _bits(self.encoder)
    if not self._tensor.numel():
        return made(self._tensor, self.encoder)
    if self._late and self._late == bits == FRACTIONAL_BITS:
        words = engine.truncated_square(engine.share(_dealt(self._tensor))).share
    else:
        words = engine.square(engine.share(_dealt(settle(self)._tensor))).share
    return made(words.view(self._tensor.shape), self.encoder, bits)


def square_(self: Share) -> Share:
    return _written(self, square(self))


# --- Division by public numbers -------------------------------------------------------------------


def div_(self: Share, y: Any) -> Share:
    """Divide in place, rounded to within two units (docs/how-to/crypten.md)."""
    return _written(self, div(self, y))


def div(self: Share, y: Any) -> Share:
    """x / y for public y. One round; none for reciprocals of whole numbers, and two for a late
    value and no power of two. Raises RangeError for 0.
    """
    divisors = y if torch.is_tensor(y) else torch.tensor(y)
    if bool((divisors == 0).any()):
        raise RangeError("division by 0")
    if divisors.numel() == 1 and divisors.dim() <= self._tensor.dim():
        power = _power_of_two(abs(float(divisors)))
        if power is not None and self._late + power <= _MOST_BITS:
            return _shifted(self, power, 1 if float(divisors) > 0 else -1)
    whole = _whole(1 / divisors.double())
    if whole is not None:
        return made(self._tensor * whole, self.encoder, self._late)
    factors = (2.0**_RECIPROCAL_BITS / divisors.double()).round().long()
    # Now, because a sum of such values would leave the range.
    return settle(made(settle(self)._tensor * factors, self.encoder, _RECIPROCAL_BITS))


def _power_of_two(number: float) -> int | None:
    """k for 2^k with k >= 0, else None."""
    mantissa, exponent = math.frexp(number)
    return exponent - 1 if mantissa == 0.5 and exponent >= 1 else None


def _shifted(x: Share, power: int, sign: int) -> Share:
    """x / (sign * 2^power), in the round of the truncation that x is late for."""
    words = x._tensor.clone() if sign == 1 else -x._tensor
    result = made(words, x.encoder, x._late + power)
    # Other operands are brought to the scale of a late value, so it may wait for few bits only.
    return result if result._late <= _bits(x.encoder) else settle(result)
