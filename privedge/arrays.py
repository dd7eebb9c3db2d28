"""Names for the numpy arrays that cross from one module to another; shapes are by convention.

n counts images or vectors. A name says what the numbers are; only the element type is checked.
"""

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
import numpy.typing as npt

# Images as in a picture file: (n, H, W) grey or (n, H, W, 3) colour, 0 to 255. One: without n.
Pixels = npt.NDArray[np.uint8]
# Vectors that owners and clients bring in place of pictures: (n, D).
Vectors = npt.NDArray[np.float64]
# What a RAN is trained on and asked about.
Inputs = Pixels | Vectors
# What a feature map makes of images, and what a RAN reconstructs: (n, *input_shape).
Features = npt.NDArray[np.float32]
# The class of each image, such as the place of its owner in a list: (n,).
Labels = npt.NDArray[np.int64]
# How badly each owner's RAN reconstructs each image: (owners, n); for one owner, (n,).
Dissimilarities = npt.NDArray[np.float32]
# One parameter of a RAN, of the shape that its spec gives; stacked, (owners, *shape).
Parameter = npt.NDArray[np.float32]


def is_pixels(inputs: Inputs) -> TypeGuard[Pixels]:
    """Return whether these are images, and not vectors."""
    return inputs.dtype == np.uint8


def joined(parts: Sequence[Inputs]) -> Inputs:
    """Return the images, or the vectors, of all `parts` in one array."""
    whole: Inputs = np.concatenate(parts)  # type: ignore[assignment]
    return whole
