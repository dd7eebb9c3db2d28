"""Fit the linear reconstructor mean + V'V(x - mean) in closed form.

Sees plaintext features; owner's device only. The rows of V are the principal components of the
owner's features: no linear map of that rank has a smaller squared error on them.
"""

import numpy as np
import numpy.typing as npt

from privedge.arrays import Features, Parameter


def fit(features: Features, components: int) -> tuple[Parameter, Parameter]:
    """Compute the principal components and the mean of features.

    features: float32 (n, D). Returns float32 basis (components, D) and mean (D,). Rows beyond the
    rank of the features are zero. The entry of a row with the largest magnitude is positive;
    otherwise the sign would depend on the linear-algebra library.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    _, lengths, rows = np.linalg.svd(features - mean, full_matrices=False)
    rank = int((lengths > 1e-6 * max(lengths[0], 1.0)).sum())
    kept = rows[: min(rank, components)]
    basis = np.zeros((components, features.shape[1]))
    basis[: len(kept)] = kept
    return signed(basis), mean.astype(np.float32)


def signed(basis: npt.NDArray[np.float64]) -> Parameter:
    """Give rows, float64 (k, D), the sign that `fit` promises."""
    largest = np.take_along_axis(basis, np.abs(basis).argmax(axis=1)[:, None], axis=1)
    return (basis * np.sign(largest)).astype(np.float32)
