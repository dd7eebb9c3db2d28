"""The one table of what this backend puts into CrypTen, and how it is taken back.

CrypTen has registries for some of it. Most is methods that name each other, so that a subclass
would fall back to its base at the first copy. They are replaced where they are, all in TABLE, and
hold no state: what they compute with hangs on the thread (running.py). `restore` takes everything
back, for whoever measures CrypTen as it was published (docs/adr/0044-crypten-backend.md).
"""

import threading
from typing import Any, Final

from parties.mpc.crypten_backend import (
    arithmetic,
    comparing,
    exporting,
    local,
    randomness,
    refusals,
    settings,
    tensors,
    words,
)
from parties.mpc.crypten_backend.communicator import SessionCommunicator
from parties.mpc.crypten_backend.load import (
    ArithmeticSharedTensor,
    BinarySharedTensor,
    CrypTenConfig,
    CrypTensor,
    CrypTensorMetaclass,
    FixedPointEncoder,
    MPCTensor,
    beaver,
    crypten,
    onnx_converter,
    rng,
)
from parties.mpc.crypten_backend.provider import PROVIDER

_PICKLE = "files of shares and models from a party are pickled; upload shares instead"
_WORLD = "two parties in a session compute; CrypTen starts none of its own"

_ARITHMETIC: Final = {
    "_late": 0,
    "_mark": None,
    "share": property(words.get_share, words.set_share),
    "data": property(words.get_data, words.set_data),
    "PRZS": staticmethod(randomness.arithmetic_zeros),
    "PRSS": staticmethod(randomness.random_ring),
    "clone": words.clone,
    "shallow_copy": words.shallow_copy,
    "copy_": words.copy_,
    "t": words.t,
    "transpose": words.transpose,
    "expand": local.expand,
    "__getitem__": local.getitem,
    "reshape": local.reshape,
    "sum": local.total,
    "unsqueeze": local.unsqueeze,
    "stack": staticmethod(local.stack),
    "cat": staticmethod(local.cat),
    "pad": local.pad,
    "_sum_pool2d": local.sum_pool2d,
    "index_add_": local.index_add_,
    "_arithmetic_function": arithmetic.arithmetic_function,
    "_arithmetic_function_": arithmetic.arithmetic_function_,
    "add": local.add,
    "__add__": local.add,
    "__radd__": local.add,
    "sub": local.sub,
    "__sub__": local.sub,
    "mul": arithmetic.mul,
    "mul_": arithmetic.mul_,
    "__mul__": arithmetic.mul,
    "__rmul__": arithmetic.mul,
    "__imul__": arithmetic.mul_,
    "square": arithmetic.square,
    "square_": arithmetic.square_,
    "div": arithmetic.div,
    "div_": arithmetic.div_,
    "__div__": arithmetic.div,
    "__truediv__": arithmetic.div,
    "__itruediv__": arithmetic.div_,
    "neg": local.neg,
    "neg_": local.neg_,
    "__neg__": local.neg,
    "__repr__": refusals.hidden,
}

_BINARY: Final = {
    "PRZS": staticmethod(randomness.binary_zeros),
    "rand": staticmethod(randomness.random_bits),
    "__repr__": refusals.hidden,
}

_MPC: Final = {
    "clone": tensors.clone,
    "shallow_copy": tensors.shallow_copy,
    "_ltz": comparing.ltz,
    "_eqz_2PC": comparing.eqz,
    "eq": comparing.eq,
    "ne": comparing.ne,
    "div": comparing.div,
    "relu": comparing.relu,
    "relu_and_value": comparing.relu_and_value,
    "max": comparing.max,
    "min": comparing.min,
    "argmax": comparing.argmax,
    "argmin": comparing.argmin,
    "_feature_dropout": randomness.feature_dropout,
    "device": property(lambda self: self._tensor.device),
    "is_cuda": property(lambda self: self._tensor.is_cuda),
    "__repr__": refusals.hidden,
    "__hash__": refusals.identity,
}

_CONFIG: Final = {
    "__getattribute__": object.__getattribute__,
    "__getattr__": settings.get,
    "__getitem__": settings.get,
    "__setattr__": settings.put,
    "__setitem__": settings.put,
    "config": settings.config,
    "load_config": settings.load_config,
    "set_config": settings.set_config,
    "temp_override": settings.temp_override,
}

_REFUSED: Final = {
    (crypten, "manual_seed"): refusals.manual_seed,
    (crypten, "_setup_prng"): refusals.manual_seed,
    (crypten, "init_thread"): refusals.not_supported(_WORLD),
    (crypten.communicator, "_init"): refusals.not_supported(_WORLD),
    (crypten.mpc, "run_multiprocess"): refusals.not_supported(_WORLD),
    (crypten.mpc.context, "run_multiprocess"): refusals.not_supported(_WORLD),
    (crypten, "save"): refusals.not_supported(_PICKLE),
    (crypten, "load"): refusals.not_supported(_PICKLE),
    (crypten, "save_from_party"): refusals.not_supported(_PICKLE),
    (crypten, "load_from_party"): refusals.not_supported(_PICKLE),
    (beaver, "truncate"): refusals.not_supported("shares are truncated with the dealer only"),
    (beaver, "wraps"): refusals.not_supported("shares are truncated with the dealer only"),
}

# From an object and the name of its attribute to what stands there.
TABLE: Final[dict[tuple[Any, str], Any]] = {
    **{(ArithmeticSharedTensor, name): made for name, made in _ARITHMETIC.items()},
    **{(BinarySharedTensor, name): made for name, made in _BINARY.items()},
    **{(MPCTensor, name): made for name, made in _MPC.items()},
    **{(CrypTenConfig, name): made for name, made in _CONFIG.items()},
    **_REFUSED,
    (FixedPointEncoder, "decode"): words.decode,
    (CrypTensor, "__getattribute__"): tensors.getattribute,
    (CrypTensorMetaclass, "AUTOGRAD_ENABLED"): tensors.autograd_enabled,
    (onnx_converter, "_export_pytorch_model"): exporting.export,
    (onnx_converter, "SYM_REGISTRY"): False,
    (onnx_converter, "numpy_helper"): exporting.Writable,
    (rng, "generate_random_ring_element"): randomness.ring_element,
    (rng, "generate_kbit_random_tensor"): randomness.bit_element,
    (beaver, "AND"): randomness.conjunction,
    (crypten.communicator, "DistributedCommunicator"): SessionCommunicator,
    (crypten.communicator, "get"): SessionCommunicator.get,
    (crypten.mpc, "get_default_provider"): lambda: PROVIDER,
    (crypten.mpc, "__SUPPORTED_PROVIDERS"): {"DEALER": PROVIDER},
    (crypten.mpc, "ttp_required"): lambda: False,
    (crypten, "generators"): {
        name: refusals.Unseeded() for name in ("prev", "next", "local", "global")
    },
    (crypten, "cat"): tensors.cat,
    (crypten, "init"): refusals.init,
    (crypten, "uninit"): refusals.uninit,
}

_lock = threading.Lock()
_MISSING: Final = object()
_originals: dict[tuple[Any, str], Any] = {}


def install() -> None:
    """Put everything of TABLE in its place, if it is not there."""
    with _lock:
        if _originals:
            return
        for (owner, name), made in TABLE.items():
            _originals[owner, name] = vars(owner).get(name, _MISSING)
            setattr(owner, name, made)


def restore() -> None:
    """Take everything back. No session may be running."""
    with _lock:
        for (owner, name), original in _originals.items():
            if original is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
        _originals.clear()
