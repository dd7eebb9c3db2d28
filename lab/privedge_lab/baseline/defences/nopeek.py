"""NoPeek (Vepakomma et al., arXiv 2008.09161): train what is sent to depend little on the image.

Dependence is measured by distance correlation, which is 0 only for independent variables. For a
batch of n, A is the matrix of distances between images, and B that between their activations. Row
and column means are subtracted from both (double centring). Then

    dCov^2 = mean(A * B)      dCor = sqrt(dCov^2 / sqrt(mean(A * A) * mean(B * B)))

`strength` is the weight of dCor relative to the task's cross entropy.
"""

from typing import ClassVar

import torch

from privedge_lab.baseline.defence import Defence
from privedge_lab.datasets import Labelled

# Avoids 0 / 0: all distances are 0 in a batch whose images or activations are all alike.
_TINY = 1e-9


class NoPeek(Defence):
    """Add strength * dCor(images, sent) to the loss; change nothing when asking."""

    name: ClassVar[str] = "nopeek"
    trains: ClassVar[bool] = True

    def penalty(self, batch: Labelled, values: torch.Tensor, sent: torch.Tensor) -> torch.Tensor:
        """As Defence says."""
        return self.strength * distance_correlation(batch.images, sent)


def distance_correlation(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return dCor of float32 (n, ...) and (n, ...), paired by row: a scalar in [0, 1].

    The result is differentiable.
    """
    a, b = _centred(one), _centred(other)
    scale = ((a * a).mean() * (b * b).mean() + _TINY).sqrt()
    return (((a * b).mean() + _TINY).clamp(min=_TINY) / (scale + _TINY)).sqrt()


def _centred(values: torch.Tensor) -> torch.Tensor:
    rows = values.flatten(1)
    # The faster way, through a matrix product, loses the small distances.
    gaps = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    return gaps - gaps.mean(0, keepdim=True) - gaps.mean(1, keepdim=True) + gaps.mean()
