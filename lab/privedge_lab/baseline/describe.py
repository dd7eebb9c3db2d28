"""Describe any nn.Sequential as a NetworkSpec, and copy its weights.

    spec = describe(layers, input=(1, 28, 28), classes=10)
    network = adopt(layers, spec)      # a network as network.build makes it, with these weights

These layers are known, with the settings that a spec can express: Conv2d (square, with bias, no
dilation, no groups), Linear with bias, BatchNorm2d, MaxPool2d and AvgPool2d over whole blocks,
ReLU, LeakyReLU, Sigmoid, Tanh, Dropout, Flatten. Nested Sequentials are unfolded; Identity is left
out.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import ValidationError
from torch import nn

from privedge.errors import ConfigError
from privedge_lab.baseline.network import build
from privedge_lab.baseline.spec import NetworkSpec

# A layer's name is its kind's prefix and a number, counted from 1.
_PREFIX = {
    "conv": "conv",
    "linear": "fc",
    "batch_norm": "norm",
    "max_pool": "pool",
    "avg_pool": "pool",
    "relu": "relu",
    "leaky_relu": "relu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "dropout": "drop",
    "flatten": "flat",
}


def describe(
    layers: nn.Sequential,
    *,
    input: tuple[int, int, int],
    classes: int,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    name: str = "own",
) -> NetworkSpec:
    """Return the spec of `layers`, which accept pixels (n, *input) as (pixel - mean) / std.

    By default pixels stay in [0, 1]. Layers are named conv1, relu1, ... in order. Raises
    ConfigError for a layer or setting that a spec cannot express, or layers that do not fit.
    """
    channels = input[0]
    counted: Counter[str] = Counter()
    described = []
    for place, module in enumerate(_flat(layers)):
        settings = _settings(module, place)
        prefix = _PREFIX[settings["kind"]]
        counted[prefix] += 1
        described.append({"name": f"{prefix}{counted[prefix]}", **settings})
    try:
        spec = NetworkSpec.model_validate(
            {
                "name": name,
                "input": input,
                "mean": mean or (0.0,) * channels,
                "std": std or (1.0,) * channels,
                "classes": classes,
                "layers": described,
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        place_in_spec = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{name}: {place_in_spec}: {first['msg']}") from None
    build(spec)  # do they fit each other?
    return spec


def adopt(layers: nn.Sequential, spec: NetworkSpec) -> nn.Sequential:
    """Build a network of `spec` (which `describe` made of `layers`) with copies of their weights.

    It maps pixels float32 (n, C, H, W) to logits (n, classes) and is in eval mode. Raises
    ConfigError if the two do not belong together.
    """
    network = build(spec).eval()
    _, *own = network.children()
    theirs = list(_flat(layers))
    try:
        for mine, their in zip(own, theirs, strict=True):
            mine.load_state_dict(their.state_dict())
    except (ValueError, RuntimeError):
        raise ConfigError(f"{spec.name}: is not the spec of these layers") from None
    return network


def _flat(layers: nn.Sequential) -> Iterator[nn.Module]:
    for module in layers:
        if isinstance(module, nn.Sequential):
            yield from _flat(module)
        elif not isinstance(module, nn.Identity):
            yield module


def _settings(module: nn.Module, place: int) -> dict[str, Any]:
    """Return the module's fields in the spec, except its name."""
    reader = _READ.get(type(module))
    settings = reader(module) if reader is not None else None
    if settings is None:
        raise ConfigError(
            f"layer {place}, {module}: cannot be described in a network spec; "
            "see privedge_lab.baseline.describe"
        )
    return settings


def _conv(it: nn.Conv2d) -> dict[str, Any] | None:
    plain = it.dilation == (1, 1) and it.groups == 1 and it.padding_mode == "zeros"
    pairs = (it.kernel_size, it.stride, it.padding)
    if not plain or it.bias is None or any(_one(pair) is None for pair in pairs):
        return None
    kernel, stride, padding = (_one(pair) for pair in pairs)
    return {
        "kind": "conv",
        "inputs": it.in_channels,
        "outputs": it.out_channels,
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
    }


def _linear(it: nn.Linear) -> dict[str, Any] | None:
    if it.bias is None:
        return None
    return {"kind": "linear", "inputs": it.in_features, "outputs": it.out_features}


def _norm(it: nn.BatchNorm2d) -> dict[str, Any] | None:
    usual = nn.BatchNorm2d(1)
    if not (it.affine and it.track_running_stats and it.eps == usual.eps):
        return None
    return {"kind": "batch_norm", "channels": it.num_features}


def _max_pool(it: nn.MaxPool2d) -> dict[str, Any] | None:
    size = _one(it.kernel_size)
    whole = _one(it.stride) == size and _one(it.padding) == 0 and _one(it.dilation) == 1
    if size is None or not whole or it.ceil_mode:
        return None
    return {"kind": "max_pool", "size": size}


def _avg_pool(it: nn.AvgPool2d) -> dict[str, Any] | None:
    size = _one(it.kernel_size)
    whole = _one(it.stride) == size and _one(it.padding) == 0 and it.divisor_override is None
    if size is None or not whole or it.ceil_mode:
        return None
    return {"kind": "avg_pool", "size": size}


def _flatten(it: nn.Flatten) -> dict[str, Any] | None:
    return {"kind": "flatten"} if (it.start_dim, it.end_dim) == (1, -1) else None


def _one(value: Any) -> int | None:
    """Return the number if `value` is a number or a pair of equal numbers, else None."""
    if isinstance(value, int):
        return value
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else None


_READ: dict[type[nn.Module], Callable[[Any], dict[str, Any] | None]] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.BatchNorm2d: _norm,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.ReLU: lambda _: {"kind": "relu"},
    nn.LeakyReLU: lambda it: {"kind": "leaky_relu", "slope": it.negative_slope},
    nn.Sigmoid: lambda _: {"kind": "sigmoid"},
    nn.Tanh: lambda _: {"kind": "tanh"},
    nn.Dropout: lambda it: {"kind": "dropout", "rate": it.p},
    nn.Flatten: _flatten,
}
