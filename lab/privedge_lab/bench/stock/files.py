"""The bench's input to its CrypTen processes: architecture, models and queries in one folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from privedge.arrays import Features, Parameter
from privedge.ran.spec import RanSpec

_SPEC, _PARAMETERS, _QUERIES = "spec.json", "parameters.npz", "queries.npy"


def write(
    folder: Path, spec: RanSpec, models: Sequence[Mapping[str, Parameter]], queries: Features
) -> None:
    """Write the spec, each owner's parameters, and `queries` (number, B, *input_shape)."""
    (folder / _SPEC).write_text(spec.to_json(), encoding="utf-8")
    names = [name for name in spec.parameters() if name != "threshold"]
    stacked = {name: np.stack([model[name] for model in models]) for name in names}
    np.savez(folder / _PARAMETERS, allow_pickle=False, **stacked)
    np.save(folder / _QUERIES, queries, allow_pickle=False)


def read(folder: Path) -> tuple[RanSpec, dict[str, Parameter], Features]:
    """Read the spec, parameters by name (N, *shape), and queries (number, B, *input_shape)."""
    spec = RanSpec.from_json((folder / _SPEC).read_text(encoding="utf-8"))
    with np.load(folder / _PARAMETERS) as file:
        parameters = {name: file[name] for name in file.files}
    return spec, parameters, np.load(folder / _QUERIES)
