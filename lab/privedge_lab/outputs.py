"""What commands of the laboratory may replace: files of the same kind that privedge wrote before.

Everything else that has the name of an output stays, and the command stops before it measures.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from privedge import private_file, regular_file
from privedge.errors import ConfigError, ImageError
from privedge.ran import npz

# Pillow and matplotlib write it first, so it stands in the head of a picture.
SOFTWARE = "privedge"
_HEAD = 2048
# Of disguise/files.py, baseline/model_file.py and demo/report.py.
_OF_DISGUISED = ("disguised", "settings", "key")
_OF_NETWORK = "privedge-split"
_OF_SUMMARY = {"plaintext_accuracy", "agreement", "preset"}


@dataclass(frozen=True)
class Kind:
    """A kind of output. wrote: whether privedge wrote the regular file at a path."""

    what: str
    wrote: Callable[[Path], bool]


def require_replaceable(path: Path, kind: Kind) -> None:
    """Raise ConfigError if a file of another kind is there, or one that privedge did not write.

    Raises CheckpointError if the path cannot be written.
    """
    private_file.require_writable(path)
    if path.is_file() and not kind.wrote(path):
        raise ConfigError(f"{path}: exists and is no {kind.what} of privedge; choose another name")


def _begins(start: bytes, mark: bytes) -> Callable[[Path], bool]:
    def wrote(path: Path) -> bool:
        with regular_file.opened(path) as file:
            head = file.read(_HEAD)
        return head.lower().startswith(start) and mark in head

    return wrote


def _is_summary(path: Path) -> bool:
    try:
        found = json.loads(regular_file.read(path))
    except ValueError:
        return False
    return isinstance(found, dict) and found.keys() >= _OF_SUMMARY


def _is_disguised(path: Path) -> bool:
    try:
        return set(_OF_DISGUISED) <= npz.arrays_of(path, *_OF_DISGUISED).keys()
    except ImageError:
        return False


def _is_network(path: Path) -> bool:
    try:
        with safe_open(path, framework="numpy") as file:
            return _OF_NETWORK in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


# The policy that all pages have stands in no other.
PAGE = Kind("page", _begins(b"<!doctype html", b"default-src 'none'; img-src data:; style-src"))
PICTURE = Kind("picture", _begins(b"\x89png", b"tEXtSoftware\0" + SOFTWARE.encode()))
SUMMARY = Kind("summary of a demo", _is_summary)
DISGUISED = Kind("disguised set", _is_disguised)
NETWORK = Kind("network", _is_network)
