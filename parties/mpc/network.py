"""The forward pass of all N RANs of a cohort at once, and their dissimilarities.

    1.  [r_j] = RAN_j([x])                 for every owner j
    2.  [d_j] = sum(([x] - [r_j])^2)
    3.  [d_r] = |[x]|^2 - 2 c_r.[x] + |c_r|^2        for every public rival r: local but for |x|^2

Between layers a value has shape (B, N, *shape); the query itself, which is the same for all
owners, has (B, 1, *shape). Parameters come stacked, (N, *shape). All owners go through one grouped
operation per layer, so the rounds grow neither with the batch nor with N. The idea is PrivEdge's
(docs/explanation/references.md#privedge), the operations are in docs/protocol.md#dissimilarity.

What a layer opens is opened by the engine, always under a fresh mask. This module sees shares only,
and opens nothing itself.
"""

from dataclasses import dataclass, replace
from typing import Generic

import torch

from parties.mpc.engine import Engine, T, Weight
from parties.mpc.normalise import normalised
from parties.mpc.squash import clipped, hyperbolic_tangent
from parties.mpc.window import Window
from privedge.ran.spec import (
    Clip,
    Conv,
    Dense,
    Layer,
    LeakyRelu,
    RanSpec,
    Relu,
    Reshape,
    SampleNorm,
    Square,
    Subspace,
    Tanh,
    Upsample,
)
from privedge.sharing.fixed_point import SCALE

# The layers that need their whole input, at its full size: an Upsample before them is carried out.
_OnAll = Dense | Subspace | Reshape | SampleNorm | Relu | LeakyRelu | Square | Tanh | Clip


@dataclass(frozen=True)
class _Value(Generic[T]):
    """A value and its scale: 2f if `doubled` (a product that is not truncated yet), else f.

    Rows and columns are still to be repeated `factor` times: a convolution opens the small input.
    """

    number: T
    doubled: bool = False
    factor: int = 1


@dataclass(frozen=True)
class Distances(Generic[T]):
    """Dissimilarities of B images at 2f: owners (B, N), and rivals (B, M), or None without any.

    whole: |x|^2 of each image x, (B,) at 2f; None if it was not needed.
    """

    owners: T
    rivals: T | None = None
    whole: T | None = None

    def together(self) -> "Distances[T]":
        """Of all images as one subject, so B is 1: sums, which are local."""
        rivals = None if self.rivals is None else self.rivals.sum(0).unsqueeze(0)
        whole = None if self.whole is None else self.whole.sum(0).unsqueeze(0)
        return Distances(self.owners.sum(0).unsqueeze(0), rivals, whole)


class Network(Generic[T]):
    """N reconstructors of one spec over one number type."""

    def __init__(self, spec: RanSpec, parameters: dict[str, T], engine: Engine[T]) -> None:
        """`parameters`: name -> (N, *shape) at f, for every name in spec.parameters()."""
        self._spec = spec
        self._parameters = parameters
        self._engine = engine

    def dissimilarity(self, x: T) -> T:
        """x: (B, *input_shape) at f. Returns (B, N) at 2f: each owner's sum of squared errors.

        It must stay below 2^47 at 2f, so a sum of squares below 2^15.
        """
        return self.distances(x).owners

    def distances(self, x: T, rivals: torch.Tensor | None = None) -> Distances[T]:
        """x: (B, *input_shape) at f; rivals: public int64 (M, D) at f, D being the size of x.

        As `dissimilarity`, and each rival's sum of squared errors. Rivals add no round. With a
        network in layers, their |x|^2 adds D squares for each image to the last round.
        """
        # A single linear layer needs no reconstruction: the error follows from inner products.
        if isinstance(self._spec.layers[0], Subspace) and len(self._spec.layers) == 1:
            whole: T | None
            owners, whole = self._closed_form(x.reshape(1, x.size(0), -1))
        else:
            owners, whole = self._layered(x, with_whole=rivals is not None)
        if rivals is None or whole is None:
            return Distances(owners, whole=whole)
        return Distances(owners, self._to_rivals(x, whole, rivals), whole)

    def _to_rivals(self, x: T, whole: T, rivals: torch.Tensor) -> T:
        """|x - c|^2 = |x|^2 - 2 c.x + |c|^2 of every rival c, (B, M) at 2f. Local.

        whole: |x|^2 at 2f, (B,). All three terms are exact, so their sum is not rounded.
        """
        inner = self._engine.combination(x.reshape(x.size(0), -1), -2 * rivals.T)
        energy = rivals.square().sum(1)
        known = self._engine.plus(inner, energy)
        distances: T = known + whole.unsqueeze(1).expand(*known.size())
        return distances

    def _layered(self, x: T, *, with_whole: bool) -> tuple[T, T | None]:
        """The owners' dissimilarities (B, N), and `with_whole` |x|^2 (B,); at 2f."""
        # 1. Layer by layer, for all owners at once. Truncations are put off to where they are free:
        #    a ReLU truncates in its own rounds, and so does the square at the end.
        features = x.unsqueeze(1)
        value = _Value(features)
        for index, layer in enumerate(self._spec.layers):
            value = self._apply(index, layer, value)
        # 2. The squared errors, one round; their sum is local, and keeps the scale 2f.
        value = _enlarged(value)
        batch, owners = value.number.size(0), value.number.size(1)
        reconstruction = value.number.reshape(batch, owners, -1)
        flat = features.reshape(batch, 1, -1)
        if value.doubled:
            # At 2f, x is a multiple of 2^16, so its truncation gives x itself.
            flat = self._engine.scaled(flat, SCALE)
        errors = flat - reconstruction
        if with_whole:
            errors = self._engine.joined([errors, flat], 1)
        square = self._engine.truncated_square if value.doubled else self._engine.square
        sums = square(errors).sum(2)
        return sums[:, :owners], sums[:, owners] if with_whole else None

    def _closed_form(self, x: T) -> tuple[T, T]:
        """The same for a linear reconstructor, with orthonormal rows V and mean m:

        |x - m - V'V(x - m)|^2 = |x|^2 - 2 m.x + |m|^2 - |Vx - Vm|^2

        x: (1, B, D) at f. k + 1 inner products and k squares per owner; Vm and |m|^2 are constants.
        Two rounds: one for all products, one for all squares (docs/protocol.md#dissimilarity).
        """
        engine, basis = self._engine, self._weight("0.basis")
        # Vm and |m|^2: shares, computed in the first query of a snapshot and kept.
        means = self._parameters["0.mean"].unsqueeze(1)
        offset = engine.constant("0.offset", lambda: engine.dense(means, basis))
        energy = engine.constant("0.energy", lambda: engine.square(means).sum(2))
        # Round 1: Vx and m.x, for all owners. x is opened under a mask for each of the two weights.
        along, inner = engine.dense_each(x, [basis, Weight("0.mean", means)])
        code = along - offset
        # Round 2: the squares of Vx - Vm, truncated, and of x. At 2f, x is a multiple of 2^16, so
        # its truncation gives x itself.
        flat = [code.reshape(-1), engine.scaled(x, SCALE).reshape(-1)]
        squares = engine.truncated_square(engine.joined(flat, 0))
        split = flat[0].size(0)
        # Local: sums, and the formula above.
        kept = squares[:split].reshape(*code.size()).sum(2)
        whole = squares[split:].reshape(*x.size()).sum(2)
        inner = inner.reshape(-1, x.size(1))
        distances: T = (whole - engine.scaled(inner, 2) + energy - kept).transpose(0, 1)
        return distances, whole.reshape(-1)

    def _apply(self, index: int, layer: Layer, value: _Value[T]) -> _Value[T]:
        match layer:
            case Conv():
                return self._conv(index, layer, value)
            case Upsample(factor=factor):
                return replace(value, factor=value.factor * factor)
            case _:
                return self._apply_to_all(index, layer, _enlarged(value))

    def _apply_to_all(self, index: int, layer: _OnAll, value: _Value[T]) -> _Value[T]:
        match layer:
            case Dense():
                return self._dense(index, self._single(value))
            case Subspace():
                return self._subspace(index, self._single(value))
            case Reshape(shape=shape):
                lead = value.number.size()[:2]
                return _Value(value.number.reshape(*lead, *shape), value.doubled)
            case SampleNorm(eps=eps):
                affine = self._parameters[f"{index}.gamma"], self._parameters[f"{index}.beta"]
                single = self._single(value)
                with self._engine.phase("normalisation"):
                    return _Value(normalised(self._engine, single, affine, eps))
            case _:
                return self._activate(layer, value)

    def _activate(
        self, layer: Relu | LeakyRelu | Square | Tanh | Clip, value: _Value[T]
    ) -> _Value[T]:
        match layer:
            case Relu():
                return _Value(self._engine.relu_and_value(self._double(value))[0])
            case LeakyRelu(slope=slope):
                return self._leaky(slope, value)
            case Square(weight=weight):
                return self._square(weight, self._single(value))
            case Tanh() | Clip():
                squash = clipped if isinstance(layer, Clip) else hyperbolic_tangent
                with self._engine.phase("output"):
                    return _Value(squash(self._engine, self._double(value)))

    def _single(self, value: _Value[T]) -> T:
        return self._engine.truncate(value.number) if value.doubled else value.number

    def _double(self, value: _Value[T]) -> T:
        return value.number if value.doubled else self._engine.scaled(value.number, SCALE)

    def _bias(self, name: str) -> T:
        return self._engine.scaled(self._parameters[name], SCALE)

    def _weight(self, name: str) -> Weight[T]:
        return Weight(name, self._parameters[name])

    def _conv(self, index: int, layer: Conv, value: _Value[T]) -> _Value[T]:
        weight = self._weight(f"{index}.weight")
        window = Window(layer.stride, value.factor, layer.padding)
        maps = self._engine.convolve(self._single(value), weight, window)
        bias = self._bias(f"{index}.bias").reshape(1, *weight.number.size()[:2], 1, 1)
        return _Value(maps + bias, doubled=True)

    def _dense(self, index: int, x: T) -> _Value[T]:
        rows = x.reshape(x.size(0), x.size(1), -1).transpose(0, 1)
        out = self._engine.dense(rows, self._weight(f"{index}.weight")).transpose(0, 1)
        return _Value(out + self._bias(f"{index}.bias").unsqueeze(0), doubled=True)

    def _subspace(self, index: int, x: T) -> _Value[T]:
        basis, mean = self._weight(f"{index}.basis"), self._parameters[f"{index}.mean"]
        centred = (x.reshape(x.size(0), x.size(1), -1) - mean.unsqueeze(0)).transpose(0, 1)
        code = self._engine.truncate(self._engine.dense(centred, basis))
        back = self._engine.dense_back(code, basis).transpose(0, 1)
        return _Value(back + self._bias(f"{index}.mean").unsqueeze(0), doubled=True)

    def _leaky(self, slope: float, value: _Value[T]) -> _Value[T]:
        public = round(slope * SCALE)
        positive, all_of_it = self._engine.relu_and_value(self._double(value))
        rectified = self._engine.scaled(positive, SCALE - public)
        return _Value(rectified + self._engine.scaled(all_of_it, public), doubled=True)

    def _square(self, weight: float, x: T) -> _Value[T]:
        squared = self._engine.truncate(self._engine.square(x))
        scaled = self._engine.scaled(squared, round(weight * SCALE))
        return _Value(scaled + self._engine.scaled(x, SCALE), doubled=True)


def _enlarged(value: _Value[T]) -> _Value[T]:
    """The value (B, N, C, H, W) with its rows and columns repeated as often as is still to be done.
    Local.
    """
    if value.factor == 1:
        return value
    x, factor = value.number, value.factor
    batch, owners, channels, height, width = x.size()
    repeated: T = (
        x.reshape(batch, owners, channels, height, 1, width, 1)
        .expand(batch, owners, channels, height, factor, width, factor)
        .reshape(batch, owners, channels, height * factor, width * factor)
    )
    return _Value(repeated, value.doubled)
