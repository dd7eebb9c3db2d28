"""scikit-learn's real handwritten digits as ten owners' images. Public data, no download."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from privedge.arrays import Pixels
from privedge.ran.images import fit
from privedge.ran.spec import ImageShape

_SIDE = 32
_TEST_SHARE = 0.2


@dataclass(frozen=True)
class Digits:
    """Images uint8 (n, 32, 32): training images by digit, and test images with their digits."""

    train_images: dict[int, Pixels] = field(repr=False)
    test_images: Pixels = field(repr=False)
    test_labels: npt.NDArray[np.int64] = field(repr=False)


def load(seed: int) -> Digits:
    """Load the 1,797 digits, enlarged from 8 x 8. A fifth of each, drawn by `seed`, is for testing.

    The test images are in random order.
    """
    data = load_digits()
    small = np.rint(data.images * (255 / 16)).astype(np.uint8)
    images = fit(small, ImageShape(height=_SIDE, width=_SIDE, channels=1))
    labels = data.target.astype(np.int64)
    rng = np.random.default_rng(seed)
    train, test = {}, []
    for digit in range(10):
        index = rng.permutation(np.flatnonzero(labels == digit))
        cut = round(len(index) * _TEST_SHARE)
        train[digit] = images[index[cut:]]
        test.append(index[:cut])
    order = rng.permutation(np.concatenate(test))
    return Digits(train, images[order], labels[order])
