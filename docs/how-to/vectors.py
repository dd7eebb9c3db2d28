"""Make the files of docs/how-to/vectors.md: vectors of four kinds, ready for privedge.

    python docs/how-to/vectors.py DIR

    DIR/wine.npz             13 measurements of wines of three cultivars (bundled with scikit-learn)
    DIR/breast-cancer.npz    30 measurements of tumours, benign and malignant (bundled, too)
    DIR/machines.npz         how eight machines vibrate: spectra of windows of a computed signal
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
MACHINES, WINDOWS, SAMPLES, RATE_HZ = 8, 60, 512, 2048.0
HARMONICS, LINES = 5, 128


def measurements(table: Bunch) -> tuple[Vectors, Labels]:
    """Scale each column by the mean and the deviation of the public rows; return the others."""
    public = np.arange(len(table.data)) % PUBLIC == 0
    mean, deviation = table.data[public].mean(axis=0), table.data[public].std(axis=0)
    scaled = (table.data[~public] - mean) / deviation
    names = np.array([str(name).replace("_", "-") for name in table.target_names])
    return scaled.astype(np.float32), names[table.target[~public]]


def machines(seed: int = 0) -> tuple[Vectors, Labels]:
    """Compute how machines vibrate, and describe each window by its spectrum.

    A shaft turns at 20 to 60 Hz, a little faster or slower from window to window. Every machine
    answers its harmonics with strengths of its own, and a bearing adds a damped ringing of its own
    frequency at each turn.
    """
    draw = np.random.default_rng(seed)
    time = np.arange(SAMPLES) / RATE_HZ
    vectors = []
    for _ in range(MACHINES):
        turns, ringing = draw.uniform(20, 60), draw.uniform(300, 900)
        strengths = draw.lognormal(0, 0.6, HARMONICS)
        for _ in range(WINDOWS):
            phase = 2 * np.pi * (turns * draw.normal(1, 0.01) * time + draw.uniform())
            signal = sum(
                strength * np.sin(order * phase) for order, strength in enumerate(strengths, 1)
            )
            since = (phase / (2 * np.pi)) % 1 / turns
            signal = signal + np.exp(-60 * since) * np.sin(2 * np.pi * ringing * since)
            vectors.append(spectrum(signal + draw.normal(0, 0.5, SAMPLES)))
    names = [f"machine-{number}" for number in range(1, MACHINES + 1)]
    return np.array(vectors, np.float32), np.repeat(names, WINDOWS)


def spectrum(window: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the logarithm of the strength of each frequency, which does not depend on phase."""
    strengths = np.abs(np.fft.rfft(window * np.hanning(len(window))))[:LINES]
    return np.asarray(np.log1p(strengths) / 4)


def digits() -> tuple[Vectors, Labels]:
    """Return pixels from 0 to 1; whose digit it is, is its label."""
    found = load_digits()
    return (found.data / 16).astype(np.float32), np.array([f"digit-{n}" for n in found.target])


def main(folder: Path) -> None:
    """Write the four files."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {
        "wine": measurements(load_wine()),
        "breast-cancer": measurements(load_breast_cancer()),
        "machines": machines(),
        "digits": digits(),
    }
    for name, (vectors, labels) in kinds.items():
        np.savez(folder / f"{name}.npz", vectors=vectors, labels=labels)
        owners = ", ".join(np.unique(labels))
        print(f"{folder / name}.npz: {len(vectors)} vectors of {vectors.shape[1]} values: {owners}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
