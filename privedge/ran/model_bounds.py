"""What a model must keep to: the bounds of the check at activation (docs/protocol.md#model-check).

The owner's device checks the same in the clear (privedge/user/model_check.py) as the parties do on
shares, so an owner can find out at home what was refused.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privedge.ran.feature_kinds import Encoder, Vector
from privedge.ran.spec import RanSpec
from privedge.sharing.fixed_point import LIMIT


@dataclass(frozen=True)
class Band:
    """Between what the mean squared error of a model on the public probes must lie."""

    least: float
    most: float


@dataclass(frozen=True)
class ProbeBounds:
    """What the errors of a model on some public probes must keep to.

    Attributes:
        band: of their mean.
        limits: for each probe, the error below which the model wins it: it would be named there, in
            a cohort of public people.
        most_won: how many of them it may win.
    """

    band: Band
    limits: tuple[float, ...]
    most_won: int

    def won(self, errors: npt.NDArray[np.float64]) -> int:
        """How many probes a model with these errors wins."""
        return int((errors < np.array(self.limits)).sum())

    def kept_by(self, errors: npt.NDArray[np.float64]) -> bool:
        """Whether these errors keep to all of it."""
        band = self.band
        return band.least < errors.mean() < band.most and self.won(errors) <= self.most_won


def gram_slack(components: int) -> float:
    """How far an inner product of two rows may be from that of an orthonormal basis. With it
    V V' <= (1 + 1/8) I (Gershgorin), so no error is below -|x - m|^2 / 8.
    """
    return 1 / (16 * components)


def most_energy(spec: RanSpec) -> float:
    """The bound of |m|^2 for the mean m of a linear layer."""
    features = spec.features
    unit = isinstance(features, Encoder | Vector) and features.unit_length
    # As for rivals: with as much of |x|^2, |x - m|^2 stays in the range of dissimilarities.
    return 1 + 1 / 16 if unit else LIMIT / 4
