"""NoPeek (Vepakomma et al., arXiv 2008.09161): train what is sent to depend little on the image.

Dependence is measured by distance correlation, which is 0 only for independent variables. Of a
batch of n: A the matrix of distances between images, B that between their activations, both with
row and column means taken off (double centring), and

    dCov^2 = mean(A * B)      dCor = sqrt(dCov^2 / sqrt(mean(A * A) * mean(B * B)))

`strength` is the weight of dCor beside the task's cross entropy.
"""

from typing import ClassVar

import torch

from privedge_lab.baseline.defence import Defence
from privedge_lab.datasets import Labelled

# A batch whose images or activations are all alike has no distances: 0 / 0 without it.
_TINY = 1e-9


class NoPeek(Defence):
    """Adds strength * dCor(images, sent) to the loss; changes nothing when asking."""

    name: ClassVar[str] = "nopeek"
    trains: ClassVar[bool] = True

    def penalty(self, batch: Labelled, values: torch.Tensor, sent: torch.Tensor) -> torch.Tensor:
        """As Defence says."""
        return self.strength * distance_correlation(batch.images, sent)


def distance_correlation(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """dCor of (n, ...) and (n, ...), paired by row: a scalar from 0 to 1, differentiable."""
    a, b = _centred(one), _centred(other)
    scale = ((a * a).mean() * (b * b).mean() + _TINY).sqrt()
    return (((a * b).mean() + _TINY).clamp(min=_TINY) / (scale + _TINY)).sqrt()


def _centred(values: torch.Tensor) -> torch.Tensor:
    rows = values.flatten(1)
    # The quick way through a matrix product loses the small distances.
    gaps = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    return gaps - gaps.mean(0, keepdim=True) - gaps.mean(1, keepdim=True) + gaps.mean()
