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
import zipfile
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from privedge import private_file, regular_file
from privedge.arrays import Features
from privedge.config import StrPath
from privedge.errors import ConfigError, RangeError
from privedge.ran.spec import RanSpec
from privedge.sharing.fixed_point import LIMIT, SCALE, encode

# What the decision has room for (mpc/decision.py): at the end an owner fails at most 15 comparisons
# with owners, one with its threshold, and one with a runner-up for each level of groups below. Up
# to 16^8 owners, these and 40 rivals are an index below 64.
MAX_RIVALS = 40
# Of |c|^2. With as much of |x|^2, |x - c|^2 stays below LIMIT, as every dissimilarity must.
_MOST_ENERGY = LIMIT / 4
# A worker is told of all rivals in one message, which may have 4 MiB.
_MOST_BYTES = 3 << 20


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
        given = np.asarray(rows)
        if given.dtype != np.float32 or given.ndim != len(shape) + 1 or given.shape[1:] != shape:
            raise ConfigError(
                f"rivals: must be float32 of shape (n, {', '.join(map(str, shape))}), "
                f"got {given.dtype} {given.shape}"
            )
        if not 1 <= len(given) <= MAX_RIVALS:
            raise ConfigError(f"rivals: 1 to {MAX_RIVALS}, not {len(given)}")
        if given.nbytes > _MOST_BYTES:
            most = _MOST_BYTES // given[0].nbytes
            raise ConfigError(f"rivals: {len(given)} of this size are too many; at most {most}")
        _require_in_range(given)
        kept = np.ascontiguousarray(given, dtype="<f4")
        kept.setflags(write=False)
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


def _unpacked(file: StrPath) -> tuple[npt.NDArray[np.generic], str]:
    """What the file says, of any type and shape; and the map's digest."""
    path = Path(file)
    try:
        with regular_file.opened(path) as raw, zipfile.ZipFile(raw) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > 2 * _MOST_BYTES:
                raise ConfigError(f"{path}: unpacks to more than {2 * _MOST_BYTES >> 20} MiB")
            raw.seek(0)
            with np.load(raw, allow_pickle=False) as arrays:
                missing = {"rivals", "map"} - set(arrays)
                if missing:
                    raise ConfigError(f"{path}: has no array {', '.join(sorted(missing))}")
                return np.asarray(arrays["rivals"]), str(arrays["map"])
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path}: is not a sound npz file without pickles") from error


def _require_in_range(rows: Features) -> None:
    flat = rows.reshape(len(rows), -1)
    try:
        words = encode(flat, what="rivals").view(np.int64)
    except RangeError as error:
        raise ConfigError(str(error)) from None
    energy = np.square(words / SCALE).sum(axis=1)
    if energy.max() >= _MOST_ENERGY:
        number = int(energy.argmax())
        raise ConfigError(
            f"rivals: the squares of number {number + 1} add up to {energy[number]:.0f}, and must "
            f"stay below {_MOST_ENERGY:.0f}; choose another picture or a smaller scale"
        )


def _digest(rows: Features) -> str:
    facts = json.dumps(list(rows.shape), separators=(",", ":"))
    return hashlib.sha256(b"privedge rivals v1\0" + facts.encode() + rows.tobytes()).hexdigest()
