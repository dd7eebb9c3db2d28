"""scikit-learn's real handwritten digits as ten owners' images. Public data, no download."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from privedge.arrays import Pixels
from privedge.ran.images import fit
from privedge.ran.named_spec import spec_named
from privedge.ran.public_files import PublicFiles
from privedge.ran.spec import ImageShape
from privedge_lab.demo.task import Task, Words, require_so_many

_SIDE = 32
_TEST_SHARE = 0.2
# The best owner's error must be clearly below the second best's, or the answer is "unknown". With
# this margin, about one in a hundred of the images held out from training gets no answer.
_MARGIN = 0.85
# A quarter turn makes these digits into no digit at all; the others still look like digits.
_TURNABLE = (2, 3, 4, 5, 7)
_STRANGERS = 10
_QUERIES = 100
_WORDS = Words(
    question="Whose digit is it?",
    things="digits",
    learnt="handwritten pictures of one digit",
    how="Each owner trained a small network to redraw pictures of their own digit. It redraws "
    "other digits badly.",
    strangers="digits turned by a quarter, which no owner has",
    source="scikit-learn\u2019s handwritten digits",
)


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


def task(preset: str, queries: int | None, seed: int, public: PublicFiles) -> Task:
    """Deal the digits out among ten owners, one digit each.

    queries: how many test images are asked; None for a hundred.
    public: the public files; their encoder takes the place of the preset's feature map.

    Raises ConfigError for an unknown preset, and for more queries than test images.
    """
    spec = spec_named(preset, height=_SIDE, width=_SIDE, channels=1, files=public)
    data, count = load(seed), queries or _QUERIES
    require_so_many(count, len(data.test_images))
    turnable = data.test_images[np.isin(data.test_labels, _TURNABLE)][:_STRANGERS]
    return Task(
        cohort="digits",
        spec=spec,
        words=_WORDS,
        learnt={_owner(digit): [*images] for digit, images in data.train_images.items()},
        asked=[*data.test_images[:count]],
        truths=[_owner(digit) for digit in data.test_labels[:count].tolist()],
        strangers=[*np.ascontiguousarray(np.rot90(turnable, axes=(1, 2)))],
        margin=_MARGIN,
        public=public,
    )


def _owner(digit: int) -> str:
    return f"digit-{digit}"
