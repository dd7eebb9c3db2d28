"""What stands behind CrypTen's products and divisions. What they return may be late (words.py).

The names of the functions are those of CrypTen's methods; install.py has the table.
"""

import math
from typing import Any

import torch

from parties.mpc.crypten_backend import marks, running
from parties.mpc.crypten_backend.fixed import fixed_product
from parties.mpc.crypten_backend.load import ArithmeticSharedTensor, FixedPointEncoder
from parties.mpc.crypten_backend.local import added
from parties.mpc.crypten_backend.ranks import secret_product
from parties.mpc.crypten_backend.tensors import made
from parties.mpc.crypten_backend.words import Share, dealt, settle
from privedge.errors import RangeError
from privedge.sharing.fixed_point import FRACTIONAL_BITS

# A public divisor becomes a public factor of so many fractional bits. With |x| < 2^32 and a
# quotient of at most 2^32 the product stays below 2^62, as truncation needs.
_RECIPROCAL_BITS = 30
_MOST_BITS = 62

# --- Products -------------------------------------------------------------------------------------


def arithmetic_function(
    self: Share, y: Any, op: str, inplace: bool = False, **options: Any
) -> Share:
    """add, sub, mul, matmul, and convolutions, with a public or secret second operand."""
    private = isinstance(y, ArithmeticSharedTensor)
    if not private and not isinstance(y, int | float) and not torch.is_tensor(y):
        raise TypeError(f"Cannot {op} {type(y)} with {type(self)}")
    if op in ("add", "sub"):
        result = added(self, y, 1 if op == "add" else -1)
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


def _scaled(x: Share, y: Any, op: str, options: dict[str, Any]) -> Share:
    """A product with public numbers. Local, but for the truncation that it may be late for."""
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
    if type(y) is int:
        return made(self._tensor * y, self.encoder, self._late)
    return arithmetic_function(self, y, "mul")


def mul_(self: Share, y: Any) -> Share:
    return arithmetic_function(self, y, "mul", inplace=True)


def square(self: Share) -> Share:
    """One round. Of a late value, the square of what truncation gives, in the same round."""
    bits = _bits(self.encoder)
    if not self._tensor.numel():
        return made(self._tensor, self.encoder)
    if self._late and self._late == bits == FRACTIONAL_BITS:
        words = running.protocols().truncated_square(dealt(self._tensor))
    else:
        words = running.protocols().square(dealt(settle(self)._tensor))
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
