"""Check that a RAN fits the ring before it is shared, and choose the owner's threshold.

Sees the owner's validation features; owner's device only.

The dissimilarity is the SUM of squared differences over the features, as the parties compute it.
The dissimilarity and every intermediate value must stay below LIMIT = 2^15, the range in which
private arithmetic is exact.
"""

import numpy as np
import torch

from privedge.arrays import Dissimilarities, Features
from privedge.errors import RangeError
from privedge.ran.model import Reconstructor
from privedge.sharing.fixed_point import LIMIT

# A threshold that no dissimilarity in range exceeds.
UNUSED = LIMIT - 1


def dissimilarities(reconstructor: Reconstructor, features: Features) -> Dissimilarities:
    """Return the sums of squared differences between features and their reconstructions.

    features: float32 (n, ...). Returns float32 (n,). Raises RangeError, which names the layer, if a
    weight, a layer's output or a sum reaches LIMIT.
    """
    for name, parameter in reconstructor.named_parameters():
        _check(parameter.detach(), f"parameter {name}")
    with torch.no_grad():
        given = value = torch.from_numpy(features)
        for index, layer in enumerate(reconstructor):
            value = layer(value)
            _check(value, f"layer {index}'s output")
        sums = (value.reshape(given.shape) - given).square().flatten(1).sum(1)
    _check(sums, "the dissimilarity")
    return sums.numpy()


def choose(errors: Dissimilarities, quantile: float | None) -> float:
    """Return the owner's threshold: a quantile of the validation errors, or UNUSED for None."""
    return UNUSED if quantile is None else float(np.quantile(errors, quantile))


def _check(values: torch.Tensor, what: str) -> None:
    if not bool((values.abs() < LIMIT).all()):  # false for NaN too
        raise RangeError(
            f"{what} reaches the limit of {LIMIT:g} of the fixed-point ring; "
            "train with another seed or a smaller learning rate"
        )
