"""What a model must keep to: the bounds of the check at activation (docs/protocol.md#model-check).

The owner's device checks the same in the clear (privedge/user/model_check.py) as the parties do on
shares, so an owner can find out at home what was refused.
"""

from dataclasses import dataclass

from privedge.ran.feature_kinds import Encoder, Vector
from privedge.ran.spec import RanSpec
from privedge.sharing.fixed_point import LIMIT


@dataclass(frozen=True)
class Band:
    """Between what the mean squared error of a model on the public probes must lie."""

    least: float
    most: float


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
