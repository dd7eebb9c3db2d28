"""A served model in the clear, on its owner's device: to see how large its values become."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from privedge.graph.layers import (
    Add,
    AveragePool,
    Conv,
    Dense,
    Flatten,
    Layer,
    MaxPool,
    Relu,
    Square,
    source,
)
from privedge.graph.spec import ModelSpec

Array = npt.NDArray[np.float64]


def values(spec: ModelSpec, parameters: Mapping[str, npt.NDArray[Any]], x: Array) -> list[Array]:
    """The output of each layer for inputs x (n, *spec.input_shape), float64. The last one is the
    scores.
    """
    found: list[Array] = []
    for index, layer in enumerate(spec.layers):
        place = source(layer, index)
        before = x if place < 0 else found[place]
        if isinstance(layer, Add):
            found.append(before + (x if layer.plus < 0 else found[layer.plus]))
        else:
            weights = [parameters.get(f"{index}.{name}") for name in ("weight", "bias")]
            found.append(_applied(layer, before, *weights))
    return found


def _applied(layer: Layer, x: Array, weight: Any, bias: Any) -> Array:
    match layer:
        case Conv() | MaxPool() | AveragePool() if x.ndim == 3:  # a signal is a map of height 1
            return _windowed(layer, x[:, :, np.newaxis], weight, bias)[:, :, 0]
        case Conv() | MaxPool() | AveragePool():
            return _windowed(layer, x, weight, bias)
        case Dense():
            return np.asarray(x @ weight.T.astype(np.float64) + bias)
        case Relu():
            return np.maximum(x, 0)
        case Square():
            return np.square(x)
        case Flatten():
            return x.reshape(len(x), -1)
    raise AssertionError(layer.kind)


def _windowed(layer: Conv | MaxPool | AveragePool, x: Array, weight: Any, bias: Any) -> Array:
    """The same for maps (n, channels, height, width)."""
    match layer:
        case Conv(stride=stride, padding=(rows, columns)):
            padded = np.pad(x, ((0, 0), (0, 0), (rows, rows), (columns, columns)))
            windows = _windows(padded, weight.shape[2:], stride)
            maps = np.tensordot(windows, weight.astype(np.float64), ((1, 4, 5), (1, 2, 3)))
            return np.asarray(np.moveaxis(maps, 3, 1) + bias.reshape(1, -1, 1, 1))
        case MaxPool(window=window, stride=stride):
            return np.asarray(_windows(x, (min(window, x.shape[2]), window), stride).max((4, 5)))
        case AveragePool(window=sides, stride=stride):
            return np.asarray(_windows(x, sides, stride).mean((4, 5)))


def _windows(x: Array, size: tuple[int, ...], stride: int) -> Array:
    """(n, channels, rows, columns, *size): all windows of x."""
    every = np.lib.stride_tricks.sliding_window_view(x, size, (2, 3))
    return every[:, :, ::stride, ::stride]
