"""The public files that a spec names by digest, and where this device keeps them.

Everybody has the same files and none of them is secret. They travel together, from an option or a
configuration file to the place where features are computed.
"""

from dataclasses import dataclass
from pathlib import Path

from privedge.config import StrPath, as_path


@dataclass(frozen=True)
class PublicFiles:
    """ONNX files on this device; None for what no spec here needs.

    encoder: computes the features of a picture (feature_kinds.Encoder).
    detector: finds the face in a picture (feature_kinds.Alignment).
    """

    encoder: Path | None = None
    detector: Path | None = None

    @staticmethod
    def at(*, encoder: StrPath | None = None, detector: StrPath | None = None) -> "PublicFiles":
        """Return the files at these paths."""
        return PublicFiles(_path(encoder), _path(detector))

    def to_dict(self) -> dict[str, str | None]:
        """Return the absolute paths as text, for another process."""
        named = {"encoder": self.encoder, "detector": self.detector}
        return {name: str(path.resolve()) if path else None for name, path in named.items()}


NO_FILES = PublicFiles()


def _path(given: StrPath | None) -> Path | None:
    return None if given is None else as_path(given)
