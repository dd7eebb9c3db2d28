"""Make an npz for experiments from a folder with one folder for each class (docs/how-to/data.md).

    python tools/make_npz.py mnist/ mnist_28.npz --side 28 --test test
    python tools/make_npz.py utkface/ faces_utk_gender_64.npz --side 64 \
        --fact 'age=(\\d+)_\\d_' --fact 'gender=\\d+_(\\d)_'

The npz holds `images` (uint8, all of one size), `labels` (classes numbered in order of name),
`label_names`, and one int64 array for each fact. Sees plaintext images.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from privedge.errors import ConfigError, ImageError, PrivEdgeError
from privedge.ran import images, inputs
from privedge.ran.spec import ImageShape


@dataclass(frozen=True)
class Fact:
    """A number in the path of an image, found by the one group of `pattern`."""

    name: str
    pattern: "re.Pattern[str]"

    @staticmethod
    def parsed(text: str) -> "Fact":
        """Parse NAME=REGEX. Raises ConfigError."""
        name, _, pattern = text.partition("=")
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise ConfigError(f"--fact {name}: is not a regular expression ({error})") from None
        if not name.isidentifier() or compiled.groups != 1:
            raise ConfigError(f"--fact {text}: give NAME=REGEX, with one group for the number")
        return Fact(name, compiled)

    def of(self, path: Path) -> int:
        """Return the number of the image at `path`, relative to the set. Raises ImageError."""
        found = self.pattern.search(path.as_posix())
        if found is None or not found[1].isdecimal():
            raise ImageError(f"{path}: its path has no number for {self.name}")
        return int(found[1])


def arrays(
    folder: Path, *, side: int | None, facts: Sequence[Fact] = (), test: str | None = None
) -> dict[str, npt.NDArray[np.generic]]:
    """Make the arrays of the npz. Raises ImageError.

    `side` is the height and width of all images; None uses the median height and width. `test`
    names folders, inside the classes or around them, whose images are the test part (`is_test`).
    """
    classes = _classes(folder, test)
    files = [file for of_class in classes.values() for file in of_class]
    size = inputs.measured(inputs.opened(files))
    height, width = (side, side) if side else (size.height, size.width)
    shape = ImageShape(height=height, width=width, channels=3 if size.channels == 3 else 1)
    counts = [len(of_class) for of_class in classes.values()]
    inside = [file.relative_to(folder) for file in files]
    made: dict[str, npt.NDArray[np.generic]] = {
        "images": inputs.given(files, shape),
        "labels": np.repeat(np.arange(len(classes)), counts),
        "label_names": np.array(list(classes)),
    }
    if test is not None:
        made["is_test"] = np.array([test in path.parts for path in inside])
    return made | {fact.name: np.array([fact.of(path) for path in inside]) for fact in facts}


def _classes(folder: Path, test: str | None) -> dict[str, list[Path]]:
    """Return the image files by class, in order of name.

    If `test` is one of the outermost folders, these are parts of the set, and the classes are the
    folders inside them.
    """
    folders = _folders(folder)
    if test in {each.name for each in folders}:
        folders = [of_class for part in folders for of_class in _folders(part)]
    found: dict[str, list[Path]] = {}
    for each in folders:
        found.setdefault(each.name, []).extend(_files(each))
    for name, files in found.items():
        if not files:
            raise ImageError(f"{folder}: class {name} holds no picture")
    return dict(sorted(found.items()))


def _folders(folder: Path) -> list[Path]:
    try:
        found = [each for each in sorted(folder.iterdir()) if each.is_dir()]
    except OSError as error:
        raise ImageError(f"{folder}: cannot be read ({error.strerror})") from None
    shown = [each for each in found if not each.name.startswith(".")]
    if not shown:
        raise ImageError(f"{folder}: holds no folders; put the images of each class in a folder")
    return shown


def _files(of_class: Path) -> list[Path]:
    deeper = [each for each in sorted(of_class.rglob("*")) if each.is_dir()]
    return [file for each in (of_class, *deeper) for file in images.listed(each)]


def _side(text: str) -> int:
    if not text.isdecimal() or not 8 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError("give 8 to 1024 pixels")
    return int(text)


def main(arguments: Sequence[str]) -> int:
    """Do what the module docstring says; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path, metavar="OUT.npz")
    parser.add_argument("--side", type=_side, help="pixels; default: the median height and width")
    parser.add_argument("--fact", action="append", default=[], metavar="NAME=REGEX")
    parser.add_argument("--test", metavar="NAME", help="folders of the test part")
    chosen = parser.parse_args(arguments)
    try:
        facts = [Fact.parsed(text) for text in chosen.fact]
        made = arrays(chosen.folder, side=chosen.side, facts=facts, test=chosen.test)
        np.savez_compressed(chosen.out, allow_pickle=False, **made)
    except (PrivEdgeError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    count, classes = len(made["labels"]), len(made["label_names"])
    sys.stdout.write(f"{chosen.out}: {count} images of {classes} classes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
