"""Names for the numpy arrays that cross from one module to another; shapes are by convention.

n counts images. A name says what the numbers are; only the element type is checked.
"""

import numpy as np
import numpy.typing as npt

# Images as in a picture file: (n, H, W) grey or (n, H, W, 3) colour, 0 to 255. One: without n.
Pixels = npt.NDArray[np.uint8]
# What a feature map makes of images, and what a RAN reconstructs: (n, *input_shape).
Features = npt.NDArray[np.float32]
# The class of each image, such as the place of its owner in a list: (n,).
Labels = npt.NDArray[np.int64]
# How badly each owner's RAN reconstructs each image: (owners, n); for one owner, (n,).
Dissimilarities = npt.NDArray[np.float32]
# One parameter of a RAN, of the shape that its spec gives; stacked, (owners, *shape).
Parameter = npt.NDArray[np.float32]
