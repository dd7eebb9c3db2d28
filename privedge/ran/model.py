"""The reconstructor as a torch module, built from a RanSpec.

Sees plaintext parameters and features, so it is for the owner's device and for checks only; no
party imports it. Parameter names and shapes are those of `RanSpec.parameters()`, without
`threshold`.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from privedge.ran import spec as kinds
from privedge.ran.feature_kinds import Shape
from privedge.ran.spec import RanSpec


class Reconstructor(nn.Sequential):
    """R: features, float32 (n, *spec.input_shape) -> their reconstruction, of the same shape.

    Parameters start at zero, and gamma at one; `initialise` or `load_state_dict` sets them.
    """

    def __init__(self, spec: RanSpec) -> None:
        inputs = [spec.input_shape, *spec.shapes()]
        super().__init__(*build(spec.layers, inputs))
        self._shape = spec.input_shape

    def forward(self, features: Tensor) -> Tensor:
        for layer in self:
            features = layer(features)
        return features.reshape(-1, *self._shape)


def build(layers: Sequence[kinds.Layer], inputs: Sequence[Shape]) -> list[nn.Module]:
    """Make one module for each layer. `inputs[i]` is the shape of one sample at layer i."""
    modules = [_module(layer, shape) for layer, shape in zip(layers, inputs, strict=False)]
    for index, (first, second) in enumerate(pairwise(layers)):
        shape = inputs[index]
        if isinstance(second, kinds.Conv) and _one_product(first, second, shape):
            modules[index : index + 2] = [nn.Identity(), _UpsampledConv(second, shape[0])]
    return modules


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw Glorot-uniform weights from `generator` (CPU). Biases and norms stay unchanged."""
    for name, parameter in network.named_parameters():
        if name.endswith("weight"):
            nn.init.xavier_uniform_(parameter, generator=generator)


def _module(layer: kinds.Layer, shape: Shape) -> nn.Module:  # noqa: C901 (one case a kind)
    match layer:
        case kinds.Conv():
            return _Conv(layer, shape[0])
        case kinds.Dense(features=features):
            return _Dense(features, math.prod(shape))
        case kinds.Reshape(shape=target):
            return _Reshape(target)
        case kinds.Upsample(factor=factor):
            return _Upsample(factor)
        case kinds.Relu():
            return nn.ReLU()
        case kinds.LeakyRelu(slope=slope):
            return nn.LeakyReLU(slope)
        case kinds.Square(weight=weight):
            return _Square(weight)
        case kinds.Tanh():
            return nn.Tanh()
        case kinds.Clip():
            return nn.Hardtanh()
        case kinds.SampleNorm(eps=eps):
            return _SampleNorm(eps)
        case kinds.Subspace(components=components):
            return _Subspace(components, math.prod(shape))


# On smaller maps, merging the weights needs more products than it saves.
_LEAST_SIDE = 4

# torch's own layers draw their first values from the global generator; the layers below do not.


class _Conv(nn.Module):
    def __init__(self, layer: kinds.Conv, channels: int) -> None:
        super().__init__()
        shape = (layer.channels, channels, layer.kernel, layer.kernel)
        self.weight = nn.Parameter(torch.zeros(shape))
        self.bias = nn.Parameter(torch.zeros(layer.channels))
        self._stride = layer.stride
        left, right, top, low = layer.padding
        # conv2d pads both sides equally at no cost. The rest of an uneven padding needs a copy.
        self._both = (min(top, low), min(left, right))
        down, across = self._both
        self._rest = (left - across, right - across, top - down, low - down)

    def forward(self, x: Tensor) -> Tensor:
        if any(self._rest):
            x = nn.functional.pad(x, self._rest)
        return nn.functional.conv2d(x, self.weight, self.bias, self._stride, self._both)


class _UpsampledConv(_Conv):
    """An upsampling by 2 and the convolution after it, with 2.56 times fewer products (kernel 4).

    Upsampling copies a value, and each copy is multiplied by another weight of the kernel. One
    product with the sum of these weights gives the same. So both layers together are one transposed
    convolution of stride 2. Its kernel holds the sums of neighbouring weights, flipped.
    """

    def __init__(self, layer: kinds.Conv, channels: int) -> None:
        super().__init__(layer, channels)
        before = layer.padding[0]
        self._cut, self._more = layer.kernel - 1 - before, layer.kernel - 1 - 2 * before

    def forward(self, x: Tensor) -> Tensor:
        pad = nn.functional.pad
        turned = self.weight.flip(2, 3).transpose(0, 1)
        rows = pad(turned, (0, 0, 0, 1)) + pad(turned, (0, 0, 1, 0))
        merged = pad(rows, (0, 1)) + pad(rows, (1, 0))
        return nn.functional.conv_transpose2d(x, merged, self.bias, 2, self._cut, self._more)


def _one_product(first: kinds.Layer, second: kinds.Conv, shape: Shape) -> bool:
    """Return whether _UpsampledConv equals both layers on samples of `shape`, and is faster."""
    if not isinstance(first, kinds.Upsample):
        return False
    left, right, top, low = second.padding
    same = left + right == second.kernel - 1 and second.kernel - 1 - 2 * left in (0, 1)
    square = (left, right) == (top, low)
    doubles = first.factor == 2 and second.stride == 1
    return doubles and same and square and min(shape[1:]) >= _LEAST_SIDE


class _Dense(nn.Module):
    def __init__(self, features: int, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(features, inputs))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x.flatten(1), self.weight, self.bias)


class _Reshape(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self._shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, *self._shape)


class _Upsample(nn.Module):
    def __init__(self, factor: int) -> None:
        super().__init__()
        self._factor = factor

    def forward(self, x: Tensor) -> Tensor:
        # Not nn.Upsample: the gradient of this form is a plain sum, equal in every run on CUDA.
        n, channels, height, width = x.shape
        by = self._factor
        tiled = x[:, :, :, None, :, None].expand(n, channels, height, by, width, by)
        return tiled.reshape(n, channels, height * by, width * by)


class _Square(nn.Module):
    def __init__(self, weight: float) -> None:
        super().__init__()
        self._weight = weight

    def forward(self, x: Tensor) -> Tensor:
        bent: Tensor = x + self._weight * x * x
        return bent


class _SampleNorm(nn.Module):
    def __init__(self, eps: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1))
        self.beta = nn.Parameter(torch.zeros(1))
        self._eps = eps

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        centred = flat - flat.mean(1, keepdim=True)
        # The norm of a vector, unlike a square root, has a gradient at zero.
        deviation = torch.linalg.vector_norm(centred, dim=1, keepdim=True) / math.sqrt(
            flat.shape[1]
        )
        normed: Tensor = centred / (deviation + self._eps) * self.gamma + self.beta
        return normed.reshape(x.shape)


class _Subspace(nn.Module):
    def __init__(self, components: int, size: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.zeros(components, size))
        self.mean = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        centred = x.flatten(1) - self.mean
        return (self.mean + centred @ self.basis.T @ self.basis).reshape(x.shape)
