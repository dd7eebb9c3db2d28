"""Served models at two parties in one process, and graphs whose parameters are nobody's."""

from functools import partial
from typing import Any

import numpy as np
import torch

from parties.mpc.crypten_backend.served import answered
from parties.mpc.crypten_backend.tensors import whole
from parties.mpc.fused.engine import FusedEngine
from privedge.graph.spec import WORD_BITS, ModelSpec
from privedge.sharing.fixed_point import encode
from privedge_lab.reference import run as reference
from tests.unit.mpc.pair import Outcome, fresh_masks, wire_dealer

LOGISTIC = {"name": "logistic", "input": [20], "layers": [{"kind": "dense", "features": 3}]}
DEEP = {
    "name": "deep",
    "input": [4],
    "layers": [
        {"kind": "dense", "features": 8},
        {"kind": "relu"},
        {"kind": "dense", "features": 3},
    ],
}
LENET = {
    "name": "lenet",
    "input": [1, 28, 28],
    "layers": [
        {"kind": "conv", "channels": 6, "kernel": [5, 5], "padding": [2, 2]},
        {"kind": "relu"},
        {"kind": "max_pool", "window": 2, "stride": 2},
        {"kind": "conv", "channels": 16, "kernel": [5, 5]},
        {"kind": "relu"},
        {"kind": "max_pool", "window": 2, "stride": 2},
        {"kind": "flatten"},
        {"kind": "dense", "features": 120},
        {"kind": "relu"},
        {"kind": "dense", "features": 84},
        {"kind": "relu"},
        {"kind": "dense", "features": 10},
    ],
}
# Every layer of the closed list, and outputs that go to two layers.
ALL = {
    "name": "all",
    "input": [2, 9, 9],
    "layers": [
        {"kind": "conv", "channels": 4, "kernel": [3, 3], "padding": [1, 1]},
        {"kind": "relu"},
        {"kind": "conv", "channels": 4, "kernel": [3, 3], "padding": [1, 1]},
        {"kind": "conv", "channels": 4, "kernel": [1, 1], "of": -1},
        {"kind": "add", "plus": 2},
        {"kind": "square"},
        {"kind": "average_pool", "window": [3, 3], "stride": 2},
        {"kind": "max_pool", "window": 2, "stride": 1},
        {"kind": "add", "plus": 7},
        {"kind": "flatten"},
        {"kind": "dense", "features": 70},
    ],
}

# A sensor's: three axes, and as many steps as there are.
SIGNALS = {
    "name": "signals",
    "input": [3, 32],
    "layers": [
        {"kind": "conv", "channels": 6, "kernel": [1, 5], "padding": [0, 2]},
        {"kind": "relu"},
        {"kind": "max_pool", "window": 3, "stride": 2},
        {"kind": "conv", "channels": 6, "kernel": [1, 3], "stride": 2},
        {"kind": "square"},
        {"kind": "average_pool", "window": [1, 7], "stride": 1},
        {"kind": "flatten"},
        {"kind": "dense", "features": 4},
    ],
}

_FLAT = {"kind": "flatten"}
# One layer of each kind with numbers of its own; a score is what it gives, or a sum of that.
KINDS = {
    "conv": [{"kind": "conv", "channels": 3, "kernel": [3, 3], "padding": [1, 1]}, _FLAT],
    "conv_stride": [{"kind": "conv", "channels": 3, "kernel": [2, 3], "stride": 2}, _FLAT],
    "dense": [_FLAT, {"kind": "dense", "features": 12}],
    "relu": [{"kind": "relu"}, _FLAT],
    "square": [{"kind": "square"}, _FLAT],
    "max_pool": [{"kind": "max_pool", "window": 2, "stride": 2}, _FLAT],
    "average_pool": [{"kind": "average_pool", "window": [2, 3], "stride": 1}, _FLAT],
    "add": [{"kind": "square"}, {"kind": "add", "plus": -1}, _FLAT],
}


def kind_of(name: str) -> dict[str, Any]:
    return {"name": name.replace("_", "-"), "input": [2, 6, 6], "layers": KINDS[name]}


def spec_of(graph: dict[str, Any], outputs: dict[str, Any]) -> ModelSpec:
    return ModelSpec.model_validate({"kind": "model", **graph, "outputs": outputs})


def drawn(spec: ModelSpec, seed: int) -> dict[str, np.ndarray]:
    """Parameters as a fresh network of torch has them."""
    made = np.random.default_rng(seed)
    return {
        name: made.uniform(-1, 1, shape) / max(1.0, np.prod(shape[1:])) ** 0.5
        for name, shape in spec.parameters().items()
    }


def asked(
    spec: ModelSpec,
    parameters: dict[str, np.ndarray],
    inputs: np.ndarray,
    *,
    masked: reference.Masked | None = None,
    words: np.ndarray | None = None,
    exact: bool = False,
) -> Outcome:
    """Both parties answer `inputs` (B, *input), or `words` modulo 2^24."""
    masked = masked or fresh_masks()
    secrets = [encode(value, what="test") for value in parameters.values()]

    def program(engine: FusedEngine, x: Any, *weights: Any) -> Any:
        named = {name: each.share for name, each in zip(parameters, weights, strict=True)}
        # Words of 24 bits are all that a party gets.
        return whole(answered(spec, named, x.share & ((1 << WORD_BITS) - 1)))

    return reference.run(
        program,
        encode(inputs, what="test") if words is None else words,
        *secrets,
        masked=masked,
        bundles=reference.supply(masked, wire_dealer, record=True),
        record=True,
        engine=partial(FusedEngine, exact=exact),
    )


def scores(outcome: Outcome, bits: int = 16) -> np.ndarray:
    """The opened answer as numbers."""
    return outcome.value.view(np.int64) / 2.0**bits


def clear(spec: ModelSpec, parameters: dict[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    """The scores in the clear, in float64, by torch."""
    given = {name: torch.from_numpy(value) for name, value in parameters.items()}
    values: list[torch.Tensor] = []
    x = torch.from_numpy(np.asarray(inputs, np.float64))
    for at, layer in enumerate(spec.layers):
        place = at - 1 if layer.of is None else layer.of
        before = x if place < 0 else values[place]
        if layer.kind == "add":
            values.append(before + (x if layer.plus < 0 else values[layer.plus]))
        else:
            values.append(_applied(layer, at, before, given))
    return values[-1].numpy()


def _applied(layer: Any, at: int, x: Any, given: Any) -> torch.Tensor:
    functions: Any = torch.nn.functional
    weights = given.get(f"{at}.weight"), given.get(f"{at}.bias")
    if layer.kind in ("conv", "max_pool", "average_pool") and x.dim() == 3:
        return _of_signal(layer, x, weights)
    made = {
        "conv": lambda: functions.conv2d(x, *weights, layer.stride, layer.padding),
        "dense": lambda: functions.linear(x, *weights),
        "relu": lambda: x.relu(),
        "square": lambda: x.square(),
        "max_pool": lambda: functions.max_pool2d(x, layer.window, layer.stride),
        "average_pool": lambda: functions.avg_pool2d(x, layer.window, layer.stride),
        "flatten": lambda: x.flatten(1),
    }
    return made[layer.kind]()


def _of_signal(layer: Any, x: Any, weights: Any) -> torch.Tensor:
    functions: Any = torch.nn.functional
    if layer.kind == "max_pool":
        return functions.max_pool1d(x, layer.window, layer.stride)
    if layer.kind == "average_pool":
        return functions.avg_pool1d(x, layer.window[1], layer.stride)
    weight, bias = weights
    return functions.conv1d(x, weight.squeeze(2), bias, layer.stride, layer.padding[1])
