"""The RANs of a cohort on CrypTen's own tensors, written as a CrypTen user would.

    d_j   = sum((x - RAN_j(x))^2)      all owners in grouped operations, or one after the other
    label = argmin of d                CrypTen's own, with its own tie-breaking

Values between layers have shape (B, N, *shape). Before the first weight all owners share them, and
the shape is (B, 1, *shape). Fixed point, truncation and comparison are CrypTen's.
"""

from collections.abc import Mapping
from typing import Any

from privedge.ran.spec import Conv, Dense, Layer, RanSpec, Relu, Reshape, Subspace, Upsample

# An MPCTensor. CrypTen has no types.
Shared = Any

_LAYERS = (Conv, Dense, Relu, Reshape, Upsample)


def unsupported(spec: RanSpec) -> str | None:
    """Name the layer of `spec` that is not implemented here; None if all are."""
    if isinstance(spec.layers[0], Subspace) and len(spec.layers) == 1:
        return None
    for index, layer in enumerate(spec.layers):
        if not isinstance(layer, _LAYERS):
            return f"layer {index} ({layer.kind})"
    return None


class Cohort:
    """N owners' RANs of one spec in grouped operations."""

    def __init__(self, spec: RanSpec, parameters: Mapping[str, Shared]) -> None:
        """`parameters`: name -> (N, *shape)."""
        self._spec = spec
        self._parameters = parameters

    def distances(self, x: Shared) -> Shared:
        """Compute the distances (B, N) of shared images x (B, *input_shape)."""
        shared = x.unsqueeze(1)
        if isinstance(self._spec.layers[0], Subspace):
            return self._outside(shared.reshape(x.size(0), 1, -1))
        value = shared
        for index, layer in enumerate(self._spec.layers):
            value = self._apply(index, layer, value)
        gap = shared.reshape(x.size(0), 1, -1) - value.reshape(x.size(0), value.size(1), -1)
        return gap.square().sum(2)

    def _apply(self, index: int, layer: Layer, x: Shared) -> Shared:
        match layer:
            case Conv():
                return self._conv(index, layer, x)
            case Dense():
                return self._dense(index, x)
            case Reshape(shape=shape):
                return x.reshape(x.size(0), x.size(1), *shape)
            case Upsample(factor=factor):
                return _upsampled(x, factor)
            case Relu():
                return x.relu()
            case _:
                raise AssertionError(f"{layer.kind}: `unsupported` names it first")

    def _conv(self, index: int, layer: Conv, x: Shared) -> Shared:
        weight, bias = self._parameters[f"{index}.weight"], self._parameters[f"{index}.bias"]
        owners, out, channels, *kernel = weight.size()
        batch, groups, _, *size = x.size()
        left, right, top, bottom = layer.padding
        maps = x.reshape(batch, groups * channels, *size)
        padding = left
        if len({left, right, top, bottom}) > 1:
            maps, padding = maps.pad(layer.padding), 0
        maps = maps.conv2d(
            weight.reshape(owners * out, channels, *kernel),
            stride=layer.stride,
            padding=padding,
            groups=groups,
        )
        _, _, *size = maps.size()
        return maps.reshape(batch, owners, out, *size) + bias.reshape(1, owners, out, 1, 1)

    def _dense(self, index: int, x: Shared) -> Shared:
        weight, bias = self._parameters[f"{index}.weight"], self._parameters[f"{index}.bias"]
        rows = x.reshape(x.size(0), x.size(1), -1).transpose(0, 1)
        return rows.matmul(weight.transpose(1, 2)).transpose(0, 1) + bias.unsqueeze(0)

    def _outside(self, x: Shared) -> Shared:
        """Compute |x - m|^2 - |V(x - m)|^2, the part outside an orthonormal basis.

        x is (B, 1, D), the result (B, N).
        """
        centred = (x - self._parameters["0.mean"].unsqueeze(0)).transpose(0, 1)
        code = centred.matmul(self._parameters["0.basis"].transpose(1, 2))
        return (centred.square().sum(2) - code.square().sum(2)).transpose(0, 1)


def _upsampled(x: Shared, factor: int) -> Shared:
    """Enlarge (B, N, C, H, W) by nearest neighbours."""
    *lead, height, width = x.size()
    spread = x.reshape(*lead, height, 1, width, 1)
    spread = spread.expand(*lead, height, factor, width, factor)
    return spread.reshape(*lead, height * factor, width * factor)
