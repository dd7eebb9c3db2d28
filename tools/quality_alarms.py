"""How many good owners the quality checks blame: `python tools/quality_alarms.py FILE.npz ...`.

Cuts the images of each label of a data set into owners of 10 and of 30 images, and prints for each
file the owners, and how many of them have a flaw of each kind. Too few images do not count.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from privedge.ran import quality

_OWNERS_OF = (10, 30)
# So many owners are cut from each label.
_MOST = 3


def main() -> None:
    """Print a line for each file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.npz")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    for file in chosen.files:
        owners, blamed, found = _alarms(file, chosen.seed)
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found.items())) or "none"
        print(f"{file.stem}: {blamed} of {owners} owners blamed ({kinds})", flush=True)


def _alarms(file: Path, seed: int) -> tuple[int, int, Counter[str]]:
    with np.load(file) as stored:
        images, labels = stored["images"], stored["labels"]
    rng = np.random.default_rng(seed)
    owners, blamed, found = 0, 0, Counter[str]()
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        for size in _OWNERS_OF:
            for start in range(0, min(len(own) - size + 1, _MOST * size), size):
                some = own[start : start + size]
                flaws = quality.of_own(quality.greys(images[some]), [str(n) for n in some])
                owners, blamed = owners + 1, blamed + bool(flaws)
                found.update(flaw.kind for flaw in flaws)
    return owners, blamed, found


if __name__ == "__main__":
    main()
