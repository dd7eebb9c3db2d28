"""Fit a subspace with (epsilon, delta)-differential privacy towards any single image.

Sees plaintext features; owner's device only. Neighbours have the same number n of images and differ
in one of them. An image may have several vectors here (shifted copies), always as many as another.

    1.  clip    each vector to the length C (`norm`), which is public
    2.  average one image moves the mean by at most 2C / n, and the second moments by
                sqrt(2) C^2 / n in the Frobenius norm
    3.  noise   Gaussian on both, for the (epsilon, delta) of both together: the analytic
                calibration of Balle and Wang (ICML 2018); on moments as in Analyze Gauss (Dwork,
                Talwar, Thakurta and Zhang, STOC 2014)
    4.  after   nothing below sees an image: shorten the mean to C, take the covariance, and keep
                the components that stand out of the noise; other rows are zero

If none is likely to stand out, which n, D and epsilon tell, all noise allowed goes to the mean.

Noise comes from AES-128-CTR under a fresh key. It is drawn in 64-bit floats, where a sum can tell
its low bits (Mironov 2012), so sums are rounded to 1/64 of the noise's deviation. What is left is
that a float's error moves a sum over such a step: less than 2^-43 a number, to be added to delta.
"""

import math
import secrets
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from privedge.arrays import Features, Parameter
from privedge.errors import TrainingError
from privedge.ran.feature_kinds import Encoder, Oriented, OrientedCentre, OrientedScales, Vector
from privedge.ran.spec import RanSpec
from privedge.user import subspace

Floats = npt.NDArray[np.float64]

# The length of maps of gradients is 8 to 11, whatever is on the picture.
_NORM_OF_MAPS = 12.0
_MOST_EPSILON = 100.0
# Of mu^2, where components are looked for. They are if the noise's largest eigenvalue is below this
# part of C^2: the first component of people's features has 0.02 to 0.05 of it.
_SHARE_OF_MEAN, _STANDS_OUT = 0.5, 0.02
_STEPS = 64


@dataclass(frozen=True)
class Privacy:
    """What is promised. norm: C, the length to which vectors are clipped.

    key: of the noise, 16 bytes; fresh but in tests.
    """

    epsilon: float
    delta: float
    norm: float
    key: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)

    @staticmethod
    def of(spec: RanSpec, epsilon: float, delta: float, norm: float | None) -> "Privacy":
        """Check the numbers. norm: None for the public bound of the spec's features.

        Raises TrainingError.
        """
        if not 0 < epsilon <= _MOST_EPSILON or not 0 < delta < 1:
            raise TrainingError(
                f"dp: epsilon must be above 0 and at most {_MOST_EPSILON:g}, delta between 0 and 1"
            )
        kind = spec.features
        if norm is None and isinstance(kind, Encoder | Vector) and kind.unit_length:
            norm = 1.0
        if norm is None and isinstance(kind, Oriented | OrientedScales | OrientedCentre):
            norm = _NORM_OF_MAPS
        if norm is None:
            raise TrainingError(
                f"dp norm: the features of {spec.name} have no public bound; give the length that "
                "they are clipped to, chosen without looking at the images"
            )
        if not 0 < norm < math.inf:  # false for NaN too
            raise TrainingError(f"dp norm: must be above 0 and finite, not {norm:g}")
        return Privacy(epsilon, delta, norm)


def fit(
    features: Features, images: int, components: int, privacy: Privacy
) -> tuple[Parameter, Parameter]:
    """As subspace.fit, with noise. features: float32 (n * copies, D) of n `images`."""
    mean, moments = averages(features, privacy.norm)
    noise, size = Noise(privacy.key), len(mean)
    of_mean, of_moments = deviations(size, images, privacy)
    mean = noise.added(mean, of_mean)
    mean *= min(1.0, privacy.norm / max(float(np.linalg.norm(mean)), 1e-12))
    basis = np.zeros((components, size))
    if of_moments is not None:
        moments = noise.added_symmetric(moments, of_moments)
        variances, rows = np.linalg.eigh(moments - np.outer(mean, mean))
        found = rows.T[::-1][: min(components, int((variances > _edge(of_moments, size)).sum()))]
        basis[: len(found)] = found
    return subspace.signed(basis), mean.astype(np.float32)


def averages(features: Features, norm: float) -> tuple[Floats, Floats]:
    """The mean (D,) and the second moments (D, D) of vectors (n, D), clipped to length `norm`."""
    wide = features.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    clipped = wide * np.minimum(1.0, norm / np.maximum(lengths, 1e-12))
    return clipped.mean(axis=0), clipped.T @ clipped / len(clipped)


def deviations(size: int, images: int, privacy: Privacy) -> tuple[float, float | None]:
    """Of the noise on the mean, and of that on the moments; None if only the mean is used."""
    mu, step = mu_of(privacy.epsilon, privacy.delta), privacy.norm / images
    of_moments = math.sqrt(2) * privacy.norm * step / (mu * math.sqrt(1 - _SHARE_OF_MEAN))
    if _edge(of_moments, size) > _STANDS_OUT * privacy.norm**2:
        return 2 * step / mu, None
    return 2 * step / (mu * math.sqrt(_SHARE_OF_MEAN)), of_moments


def _edge(deviation: float, size: int) -> float:
    """The largest eigenvalue of the noise on the moments (Wigner's semicircle)."""
    return deviation * math.sqrt(2 * size)


def mu_of(epsilon: float, delta: float) -> float:
    """The largest ratio of sensitivity to deviation for which a Gaussian is (epsilon, delta)-
    differentially private: Balle and Wang, theorem 8.
    """

    def lost(mu: float) -> float:
        return _normal(mu / 2 - epsilon / mu) - math.exp(epsilon) * _normal(-mu / 2 - epsilon / mu)

    low, high = 1e-9, 1e3
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if lost(middle) <= delta else (low, middle)
    return low


def _normal(value: float) -> float:
    return math.erfc(-value / math.sqrt(2)) / 2


class Noise:
    """Normal numbers from one key. Secret."""

    def __init__(self, key: bytes) -> None:
        # A key is for one stream only, so that it may begin at zero.
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def added(self, values: Floats, deviation: float) -> Floats:
        """Values with noise, rounded."""
        # Box and Muller (1958), of uniform numbers in (0, 1).
        half = -(-values.size // 2)
        words = np.frombuffer(self._cipher.update(bytes(16 * half)), "<u8").reshape(2, half)
        uniform = ((words >> np.uint64(11)) + 0.5) * 2.0**-53
        radius, angle = np.sqrt(-2 * np.log(uniform[0])), 2 * np.pi * uniform[1]
        normal = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[: values.size]
        step = deviation / _STEPS
        rounded: Floats = np.rint((values + deviation * normal.reshape(values.shape)) / step) * step
        return rounded

    def added_symmetric(self, values: Floats, deviation: float) -> Floats:
        """The same for a symmetric matrix whose Frobenius norm is what one image moves: what stands
        twice, above and below the diagonal, gets half of the variance.
        """
        above = np.triu_indices(len(values), 1)
        made = np.diag(self.added(np.diag(values), deviation))
        made[above] = self.added(values[above], deviation / math.sqrt(2))
        return made + np.triu(made, 1).T
