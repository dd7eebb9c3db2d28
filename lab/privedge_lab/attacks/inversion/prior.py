"""Invert a single layer with what is known of such signals: the attacker whom counting forgets.

Dong et al. 2017 count equations: fewer values than inputs do not determine the input. An attacker
who has signals of the same kind knows more than the equations. Their mean m and covariance C make
a Gaussian prior, and the equations A x = y of what arrived then have one most likely answer:

    x = m + C A' (A C A' + e I)^-1 (y - A m)

Where neighbouring points go together, a few values suffice. The mask may be new for every signal:
zeros are left out as unknown, as in single_layer.
"""

import numpy as np
import torch

from privedge_lab.attacks.inversion.single_layer import Equations, Reals, systems
from privedge_lab.attacks.views import WhiteBoxView

# Of the largest variance: rounding of float32 activations.
_NOISE = 1e-9
_RIDGE = 1e-7


def with_prior(
    view: WhiteBoxView, known: torch.Tensor, *, generator: torch.Generator
) -> torch.Tensor:
    """Reconstruct inputs float32 (n, *view.image_shape) in [0, 1], one for each row of `view.sent`.

    `known` float32 (m, *view.image_shape) are inputs of the same kind. Raises ConfigError for a
    head that is not a single layer, as single_layer does.
    """
    flat = known.flatten(1).double().numpy()
    mean, covariance = flat.mean(0), np.cov(flat, rowvar=False)
    covariance += _RIDGE * covariance.diagonal().mean() * np.eye(len(covariance))
    found = [_likeliest(each, mean, covariance) for each in systems(view, generator)]
    inputs = torch.from_numpy(np.stack(found)).float()
    return inputs.reshape(-1, *view.image_shape).clamp(0, 1)


def _likeliest(system: Equations, mean: Reals, covariance: Reals) -> Reals:
    if not len(system.rows):
        return mean
    across = covariance @ system.rows.T
    seen = system.rows @ across
    noise = _NOISE * seen.diagonal().max() * np.eye(len(seen))
    gaps = system.values - system.rows @ mean
    solution: Reals = mean + across @ np.linalg.solve(seen + noise, gaps)
    return solution
