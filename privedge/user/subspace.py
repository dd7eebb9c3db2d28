"""Fit the linear reconstructor mean + V'V(x - mean) in closed form.

Sees plaintext features; owner's device only. The rows of V are the principal components of the
owner's features: no linear map of that rank has a smaller squared error on them.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from privedge.arrays import Features, Parameter
from privedge.errors import TrainingError
from privedge.ran.spec import Dense, RanSpec, Relu, Reshape


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


def start(
    spec: RanSpec, features: Features, drawn: Mapping[str, Parameter]
) -> dict[str, Parameter]:
    """Return weights with which a network of one hidden layer is the linear reconstructor.

    A component is one hidden unit. Its bias is as large as the component's largest value on these
    features, so that the ReLU changes none of them; it cuts off what lies further out. Units that
    are left over keep the weights that were drawn, and the output ignores them at first.

    spec: its layers are Dense, Relu, Dense and perhaps Reshape. features: float32, (n, *its
    input_shape). drawn: the weights of a network of `spec`, by name.

    Raises TrainingError for other layers.
    """
    if not starts_linear(spec):
        raise TrainingError(
            f"start: {spec.name} is no network of one hidden layer of ReLUs, so it has no linear "
            "start; use random"
        )
    inner, outer = drawn["0.weight"].copy(), np.zeros_like(drawn["2.weight"])
    bias = np.zeros(len(inner), np.float32)
    flat = features.reshape(len(features), -1)
    basis, mean = fit(flat, len(inner) // 2)
    basis = basis[basis.any(axis=1)]
    used = len(basis)
    reach = np.abs((flat - mean) @ basis.T).max(axis=0)
    inner[:used], outer[:, :used], bias[:used] = basis, basis.T, reach - basis @ mean
    return {"0.weight": inner, "0.bias": bias, "2.weight": outer, "2.bias": mean - reach @ basis}


def starts_linear(spec: RanSpec) -> bool:
    """Whether a network of `spec` can start as the linear reconstructor."""
    layers = [layer for layer in spec.layers if not isinstance(layer, Reshape)]
    return [type(layer) for layer in layers] == [Dense, Relu, Dense]
