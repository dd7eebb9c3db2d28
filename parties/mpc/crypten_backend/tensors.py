"""Making CrypTen's tensors, and finding their methods, without the work that CrypTen does twice.

CrypTen makes each result by encrypting an empty tensor first, and looks every attribute of an
MPCTensor up through its autograd. A small network spent more time on that than on its protocol.
Whether autograd is on is the thread's affair here, as all else is.
"""

from typing import Any, Final

import torch

from parties.mpc.crypten_backend.load import (
    ArithmeticSharedTensor,
    CrypTensor,
    FixedPointEncoder,
    MPCTensor,
    crypten,
    get_grad_fn,
    ptype,
)
from parties.mpc.crypten_backend.running import running
from privedge.sharing.fixed_point import FRACTIONAL_BITS

_through_autograd = CrypTensor.__getattribute__
_cat = crypten.cat
# Of whole numbers, and of numbers at f. Never changed.
WHOLE: Final = FixedPointEncoder(precision_bits=0)
REAL: Final = FixedPointEncoder(precision_bits=FRACTIONAL_BITS)
# Of each name that was asked for, whether it is an attribute like any other.
_plain: dict[str, bool] = {}


def made(words: torch.Tensor, encoder: FixedPointEncoder, late: int = 0) -> Any:
    """An ArithmeticSharedTensor of these words, at the encoder's scale times 2^late."""
    result = object.__new__(ArithmeticSharedTensor)
    result.encoder, result._tensor = encoder, words
    if late:
        result._late = late
    return result


def whole(words: torch.Tensor) -> Any:
    """An ArithmeticSharedTensor of whole numbers."""
    result = object.__new__(ArithmeticSharedTensor)
    result.encoder, result._tensor = WHOLE, words
    return result


def wrapped(share: Any, kind: Any = ptype.arithmetic) -> Any:
    """An MPCTensor of an ArithmeticSharedTensor, or of a BinarySharedTensor."""
    result = object.__new__(MPCTensor)
    object.__getattribute__(result, "__dict__").update(
        requires_grad=False,
        grad=None,
        grad_fn=None,
        grad_expected=0,
        grad_received=0,
        children=[],
        ctx=None,
        _tensor=share,
        ptype=kind,
    )
    return result


def clone(self: Any) -> Any:
    return wrapped(self._tensor.clone(), self.ptype)


def shallow_copy(self: Any) -> Any:
    return wrapped(self._tensor, self.ptype)


def cat(tensors: list[Any], dim: int = 0) -> Any:
    """crypten.cat, without a tensor that is encrypted to find the method."""
    if running.grad or not all(isinstance(each, MPCTensor) for each in tensors):
        return _cat(tensors, dim=dim)
    if len(tensors) == 1:
        return tensors[0]
    return wrapped(type(tensors[0]._tensor).cat([each._tensor for each in tensors], dim=dim))


def getattribute(self: Any, name: str) -> Any:
    """CrypTensor.__getattribute__: by the shortest way to what CrypTen's own finds."""
    plain = _plain.get(name)
    if plain is None:
        plain = _plain[name] = _is_plain(name)
    if plain or not running.grad:
        try:
            return object.__getattribute__(self, name)
        except AttributeError:
            # Some functions are autograd's alone.
            return _through_autograd(self, name)
    return _through_autograd(self, name)


def _is_plain(name: str) -> bool:
    """Whether autograd has nothing to do with the attribute."""
    if name in CrypTensor.PROTECTED_ATTRIBUTES or name == "copy_":
        return True
    # A name in Python's own form stands for another, and in-place functions are made of others.
    if name in CrypTensor.PYTHON_BUILTIN or (name.endswith("_") and not name.endswith("__")):
        return False
    return get_grad_fn(name) is None


def _autograd_enabled(cls: Any) -> bool:
    return running.grad


def _enable_autograd(cls: Any, mode: bool) -> None:
    running.grad = mode


# An attribute of CrypTensor's class, so it stands on the class of that class.
autograd_enabled = property(_autograd_enabled, _enable_autograd)
