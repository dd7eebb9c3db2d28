"""Invert a single layer by solving its system of linear equations (Dong et al. 2017).

A head of one convolution or dense layer, perhaps with an activation, sends act(W x + b); some
values may be dropped. Each value that arrives is a linear equation in the pixels, if its activation
can be inverted. As many independent equations as pixels determine the image exactly. With fewer,
the solver must choose among the images that fit:

* `pseudo-inverse`: the image nearest to grey;
* `non-negative`: the darkest image without negative pixels (non-negative least squares).

A ReLU's 0 hides how far its input was below 0, so it is no equation but an inequality. With
`zeros="at-most-0"` the non-negative solver uses it, where it is known that the value was kept.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LinearRegression
from torch import nn

from privedge.errors import ConfigError
from privedge.progress import Progress
from privedge_lab.attacks.inversion.white_box import gain, kept
from privedge_lab.attacks.views import WhiteBoxView

Reals = npt.NDArray[np.float64]

_ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh)
_GREY = 0.5
# Singular values below this share of the largest are noise of float32 activations.
_RANK_TOLERANCE = 1e-5
_FAINT = 1e-3


@dataclass(frozen=True)
class SingleLayerSettings:
    """Which solver, and whether a kept 0 of a ReLU counts as an inequality."""

    solver: Literal["pseudo-inverse", "non-negative"] = "pseudo-inverse"
    zeros: Literal["unknown", "at-most-0"] = "unknown"


@dataclass(frozen=True)
class Equations:
    """For one image: `rows` @ pixels = `values`, and `bounded` @ pixels <= `limits`."""

    rows: Reals
    values: Reals
    bounded: Reals
    limits: Reals


def single_layer(
    view: WhiteBoxView,
    settings: SingleLayerSettings,
    *,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Reconstruct images float32 (n, *view.image_shape) in [0, 1], one for each row of `view.sent`.

    Raises ConfigError for a head with more than one layer with weights, or an activation other than
    ReLU, leaky ReLU, sigmoid and tanh. The layer becomes a matrix of all outputs by all pixels, so
    images must be small.
    """
    found = []
    for number, system in enumerate(systems(view, generator), start=1):
        found.append(_solve(system, settings))
        if progress is not None:
            progress("solve", number, len(view.sent))
    pixels = torch.from_numpy(np.stack(found)).float()
    return pixels.reshape(-1, *view.image_shape).clamp(0, 1)


def systems(view: WhiteBoxView, generator: torch.Generator) -> Iterator[Equations]:
    """Yield the equations of each row of `view.sent`. Raises ConfigError as `single_layer` does."""
    affine, activation = _parts(view.head)
    matrix, offset = _matrix(affine, view.image_shape)
    scale, known = gain(view, generator), kept(view, generator).flatten(1).bool()
    sent = view.sent.flatten(1) / scale
    for values, mask in zip(sent, known, strict=True):
        yield _equations(values, mask, (matrix, offset), activation)


def _parts(head: nn.Sequential) -> tuple[nn.Sequential, nn.Module | None]:
    """Return the affine part, scaling of pixels included, and the activation after it."""
    modules = list(head)
    activation = modules.pop() if isinstance(modules[-1], _ACTIVATIONS) else None
    weighted = sum(any(True for _ in module.parameters()) for module in modules)
    plain = all(isinstance(it, nn.Conv2d | nn.Linear | nn.Flatten) for it in modules[1:])
    if weighted != 1 or not plain:
        raise ConfigError("this attack needs a head of one convolution or dense layer")
    return nn.Sequential(*modules), activation


@torch.no_grad()
def _matrix(affine: nn.Sequential, image_shape: tuple[int, int, int]) -> tuple[Reals, Reals]:
    """Return (W, b) such that outputs = W pixels + b, for pixels in [0, 1]."""
    exact = copy.deepcopy(affine).double()
    zero = torch.zeros((1, *image_shape), dtype=torch.float64)
    basis = torch.eye(zero.numel(), dtype=torch.float64).reshape(-1, *image_shape)
    offset = exact(zero).flatten()
    columns = torch.cat([exact(part).flatten(1) - offset for part in basis.split(256)])
    return columns.T.contiguous().numpy(), offset.numpy()


def _equations(
    values: torch.Tensor,
    mask: torch.Tensor,
    layer: tuple[Reals, Reals],
    activation: nn.Module | None,
) -> Equations:
    """Return the equations in one image's activations; `mask` is true where one is known kept."""
    matrix, offset = layer
    usable = mask & (values > 0) if isinstance(activation, nn.ReLU) else mask
    chosen, below = usable.numpy(), (mask & ~usable).numpy()
    before = _undone(values.double(), activation).numpy()
    return Equations(
        rows=matrix[chosen],
        values=(before - offset)[chosen],
        bounded=matrix[below],
        limits=-offset[below],
    )


def _undone(values: torch.Tensor, activation: nn.Module | None) -> torch.Tensor:
    """Invert the activation: return its inputs."""
    if isinstance(activation, nn.LeakyReLU):
        return torch.where(values < 0, values / activation.negative_slope, values)
    if isinstance(activation, nn.Sigmoid):
        return torch.logit(values, eps=1e-7)
    if isinstance(activation, nn.Tanh):
        return torch.atanh(values.clamp(-1 + 1e-7, 1 - 1e-7))
    return values


def _solve(system: Equations, settings: SingleLayerSettings) -> Reals:
    pixels = system.rows.shape[1]
    if not len(system.rows):
        return np.full(pixels, _GREY)
    if settings.solver == "pseudo-inverse":
        gaps = system.values - system.rows @ np.full(pixels, _GREY)
        change, *_ = np.linalg.lstsq(system.rows, gaps, rcond=_RANK_TOLERANCE)
        solution: Reals = _GREY + change
        return solution
    rows, values = system.rows, system.values
    if settings.zeros == "at-most-0":
        rows, values = _with_slack(system)
    # One more equation, "the pixels add up to 0". It is so faint that it only chooses among the
    # images that fit.
    rows = np.vstack([rows, np.where(np.arange(rows.shape[1]) < pixels, _FAINT, 0)])
    values = np.append(values, 0)
    solver = LinearRegression(fit_intercept=False, positive=True).fit(rows, values)
    found: Reals = np.asarray(solver.coef_[:pixels], dtype=np.float64)
    return found


def _with_slack(system: Equations) -> tuple[Reals, Reals]:
    """Turn inequalities into equations: each gets a non-negative slack variable."""
    count = len(system.bounded)
    upper = np.hstack([system.rows, np.zeros((len(system.rows), count))])
    lower = np.hstack([system.bounded, np.eye(count)])
    return np.vstack([upper, lower]), np.concatenate([system.values, system.limits])
