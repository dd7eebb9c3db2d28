"""Public rivals of a cohort: features of pictures or vectors of nobody, with a digest.

An image is named only if its owner's model is nearer than every rival, by the cohort's margin. So a
cohort of one owner can answer "unknown" as well (docs/protocol.md#decision). A rival is no secret:
both parties and every client may have the file.

The file is an npz without pickles:

    rivals   float32 (n, *input_shape)   what the feature map makes of each picture or vector
    map      64 hexadecimal digits       SHA-256 of the feature map and the size of pictures

The digest covers what the file says and not its bytes, so a file that was packed again is the same.
"""

import hashlib
import io
import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from privedge import private_file
from privedge.arrays import Features
from privedge.config import StrPath
from privedge.errors import ConfigError
from privedge.ran import public_rows
from privedge.ran.spec import RanSpec
from privedge.sharing.fixed_point import encode

# What the decision has room for (mpc/decision.py): at the end an owner fails at most 15 comparisons
# with owners, one with its threshold, and one with a runner-up for each level below; the range
# checks add four, and more images of one subject up to ten. These and 40 rivals are an index below
# 128.
MAX_RIVALS = 40


@dataclass(frozen=True)
class Rivals:
    """The public rivals of a cohort. Equal ones have equal digests.

    Attributes:
        rows: their features, float32 (n, *input_shape).
        digest: SHA-256 (hex) over the shape and the rows.
    """

    rows: Features = field(repr=False, compare=False)
    digest: str

    @staticmethod
    def of(rows: npt.ArrayLike, shape: tuple[int, ...]) -> "Rivals":
        """Check rows, (n, *shape). Raises ConfigError that says what to change."""
        kept = public_rows.checked("rivals", rows, shape, MAX_RIVALS)
        return Rivals(kept, _digest(kept))

    @staticmethod
    def from_bytes(rows: bytes, shape: tuple[int, ...]) -> "Rivals | None":
        """Inverse of `to_bytes`; None for no bytes. Raises ConfigError."""
        if not rows:
            return None
        size = 4 * int(np.prod(shape))
        if len(rows) % size:
            raise ConfigError(f"rivals: {len(rows)} bytes are no rows of shape {shape}")
        return Rivals.of(np.frombuffer(rows, "<f4").reshape(-1, *shape), shape)

    def to_bytes(self) -> bytes:
        """The rows, little-endian, one after the other."""
        return self.rows.tobytes()

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def words(self) -> npt.NDArray[np.int64]:
        """The rows at scale 2^16, int64 (n, values of a row): what the parties compute with."""
        return encode(self.rows.reshape(len(self.rows), -1), what="rivals").view(np.int64)


def map_digest(spec: RanSpec) -> str:
    """SHA-256 (hex) of the feature map and the size of pictures: what makes rows comparable."""
    facts = spec.model_dump(mode="json", include={"features", "image"})
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read(path: StrPath, spec: RanSpec) -> Rivals:
    """Read the rivals of a cohort of this architecture. Raises ConfigError."""
    rows, made_for = _unpacked(path)
    if made_for != map_digest(spec):
        raise ConfigError(
            f"{path}: was made for another feature map or size of pictures; "
            "make it again with privedge rivals make"
        )
    return _checked(path, rows, spec.input_shape)


def read_any(path: StrPath) -> Rivals:
    """Read rivals of whatever feature map. Raises ConfigError."""
    rows, _ = _unpacked(path)
    return _checked(path, rows, rows.shape[1:])


def write(path: Path, rivals: Rivals, spec: RanSpec) -> None:
    """Write the file that `read` reads; whole or not at all."""
    packed = io.BytesIO()
    np.savez_compressed(packed, rivals=rivals.rows, map=np.array(map_digest(spec)))
    private_file.write(path, packed.getvalue(), mode=0o644)


def require_replaceable(path: Path) -> None:
    """Raise ConfigError if `path` holds anything but rivals."""
    if not os.path.lexists(path):
        return
    try:
        read_any(path)
    except ConfigError:
        cure = "choose another name, or replace it with --force"
        raise ConfigError(f"{path}: exists and holds no rivals; {cure}") from None


def _checked(path: StrPath, rows: npt.NDArray[np.generic], shape: tuple[int, ...]) -> Rivals:
    try:
        return Rivals.of(rows, shape)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _unpacked(path: StrPath) -> tuple[npt.NDArray[np.generic], str]:
    """What the file says, of any type and shape; and the map's digest."""
    rows, made_for = public_rows.unpacked(path, "rivals", "map")
    return rows, str(made_for)


def _digest(rows: Features) -> str:
    facts = json.dumps(list(rows.shape), separators=(",", ":"))
    return hashlib.sha256(b"privedge rivals v1\0" + facts.encode() + rows.tobytes()).hexdigest()
