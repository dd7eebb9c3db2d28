"""What a served model that is no RAN is asked with. Sees plaintext inputs: for devices only."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from privedge.errors import ImageError
from privedge.graph.spec import ModelSpec
from privedge.ran import npz

INPUTS = "inputs"


def inputs_of(source: object, spec: ModelSpec) -> npt.NDArray[np.float64]:
    """Return inputs as float64 (n, *input_shape).

    source: an array of floats, of that shape or of one sample; or the path of an npz with such an
        array called `inputs`.

    Raises ImageError.
    """
    if isinstance(source, str | Path):
        found = npz.arrays_of(Path(source), INPUTS).get(INPUTS)
        if found is None:
            raise ImageError(f"{source}: has no array called {INPUTS}")
    else:
        found = _array(source)
    if found.dtype.kind != "f":
        raise ImageError(f"inputs: must be floats, got {found.dtype}: inputs.astype('float32')")
    if found.shape == spec.input_shape:
        found = found[np.newaxis]
    if found.shape[1:] != spec.input_shape or not len(found):
        wanted = ", ".join(map(str, spec.input_shape))
        raise ImageError(f"inputs: must have the shape (n, {wanted}), got {found.shape}")
    if not np.isfinite(found).all():
        raise ImageError("inputs: some are not finite")
    return found.astype(np.float64)


def _array(source: object) -> npt.NDArray[Any]:
    try:
        found = np.asarray(source)
    except (ValueError, TypeError, RuntimeError):  # rows of several lengths, tensors with gradients
        found = np.empty((), object)
    if found.dtype.kind not in "fiub":
        raise ImageError(
            f"inputs: this cohort serves a model: give one npz with an array called {INPUTS}, "
            "or an array of floats"
        )
    return found
