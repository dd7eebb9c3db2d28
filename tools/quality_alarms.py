"""How many good owners the quality checks blame: `python tools/quality_alarms.py FILE.npz ...`.

Cuts what each label of a data set has into owners of 10 and of 30, and prints for each file the
owners, and how many of them have a flaw of each kind. Too few images do not count.

A file with `vectors` has what an encoder made of pictures. Then it also puts one of another label
into each owner's set, and prints how often that one is found.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from privedge.ran import quality

_OWNERS_OF = (10, 30)
# So many owners are cut from each label.
_MOST = 3

Array = npt.NDArray[Any]


def main() -> None:
    """Print a line for each file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.npz")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    for file in chosen.files:
        with np.load(file) as stored:
            encoded = "vectors" in stored
            given, labels = stored["vectors" if encoded else "images"], stored["labels"]
        rng = np.random.default_rng(chosen.seed)
        owners = list(_owners(labels, rng))
        flaws = [_flaws(given[own]) for own, _ in owners]
        found = Counter(flaw.kind for each in flaws for flaw in each)
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found.items())) or "none"
        line = f"{file.stem}: {sum(map(bool, flaws))} of {len(owners)} owners blamed ({kinds})"
        if encoded:
            hits = sum(_is_found(given[own[:-1]], given[other]) for own, other in owners)
            line += f"; one of another label found in {hits} of {len(owners)}"
        print(line, flush=True)


def _owners(labels: Array, rng: np.random.Generator) -> Iterator[tuple[Array, int]]:
    """The places of each owner's own, and one place of another label."""
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        for size in _OWNERS_OF:
            for start in range(0, min(len(own) - size + 1, _MOST * size), size):
                yield own[start : start + size], int(rng.choice(np.flatnonzero(labels != label)))


def _flaws(own: Array) -> list[quality.Flaw]:
    names = [str(number) for number in range(len(own))]
    if own.dtype == np.uint8:
        return quality.of_own(quality.greys(own), names)
    return quality.of_encoded(own.reshape(len(own), -1), names)


def _is_found(own: Array, other: Array) -> bool:
    flaws = _flaws(np.concatenate([own, other[None]]))
    return [flaw.files for flaw in flaws] == [(str(len(own)),)]


if __name__ == "__main__":
    main()
