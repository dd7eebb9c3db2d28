"""Make the files of docs/how-to/vectors.md: vectors of three kinds, ready for privedge.

    python docs/how-to/vectors.py DIR

    DIR/wine.npz             13 measurements of wines of three cultivars (bundled with scikit-learn)
    DIR/breast-cancer.npz    30 measurements of tumours, benign and malignant (bundled, too)
    DIR/digits.npz           the 64 pixels of small handwritten digits (bundled, too)

Each file holds `vectors`, float32 (n, D), and `labels`, strings (n,).
"""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.utils import Bunch

Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.str_]

# Every fourth row plays a study that was published: everybody scales by its figures.
PUBLIC = 4


def measurements(table: Bunch) -> tuple[Vectors, Labels]:
    """Scale each column by the mean and the deviation of the public rows; return the others."""
    public = np.arange(len(table.data)) % PUBLIC == 0
    mean, deviation = table.data[public].mean(axis=0), table.data[public].std(axis=0)
    scaled = (table.data[~public] - mean) / deviation
    names = np.array([str(name).replace("_", "-") for name in table.target_names])
    return scaled.astype(np.float32), names[table.target[~public]]


def digits() -> tuple[Vectors, Labels]:
    """Return pixels from 0 to 1; whose digit it is, is its label."""
    found = load_digits()
    return (found.data / 16).astype(np.float32), np.array([f"digit-{n}" for n in found.target])


def main(folder: Path) -> None:
    """Write the three files."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {
        "wine": measurements(load_wine()),
        "breast-cancer": measurements(load_breast_cancer()),
        "digits": digits(),
    }
    for name, (vectors, labels) in kinds.items():
        np.savez(folder / f"{name}.npz", vectors=vectors, labels=labels)
        owners = ", ".join(np.unique(labels))
        print(f"{folder / name}.npz: {len(vectors)} vectors of {vectors.shape[1]} values: {owners}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
