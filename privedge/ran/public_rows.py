"""What files of public rivals and public probes have in common: rows of features in an npz."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from privedge import regular_file
from privedge.arrays import Features
from privedge.config import StrPath
from privedge.errors import ConfigError, RangeError
from privedge.sharing.fixed_point import LIMIT, SCALE, encode

# What fits into a message of 4 MiB; and a pool, of which never all is sent.
MESSAGE_BYTES, POOL_BYTES = 3 << 20, 64 << 20
# Of |c|^2. With as much of |x|^2, |x - c|^2 stays below LIMIT, as every dissimilarity must.
_MOST_ENERGY = LIMIT / 4


def checked(
    what: str,
    rows: npt.ArrayLike,
    shape: tuple[int, ...],
    most: int,
    *,
    most_bytes: int = MESSAGE_BYTES,
) -> Features:
    """Check float32 (n, *shape), n at most `most`; returns them read-only. Raises ConfigError."""
    given = np.asarray(rows)
    if given.dtype != np.float32 or given.ndim != len(shape) + 1 or given.shape[1:] != shape:
        raise ConfigError(
            f"{what}: must be float32 of shape (n, {', '.join(map(str, shape))}), "
            f"got {given.dtype} {given.shape}"
        )
    if not 1 <= len(given) <= most:
        raise ConfigError(f"{what}: 1 to {most}, not {len(given)}")
    if given.nbytes > most_bytes:
        fit = most_bytes // given[0].nbytes
        raise ConfigError(f"{what}: {len(given)} of this size are too many; at most {fit}")
    _require_in_range(what, given)
    kept = np.ascontiguousarray(given, dtype="<f4")
    kept.setflags(write=False)
    return kept


def unpacked(
    file: StrPath, *names: str, most_bytes: int = MESSAGE_BYTES
) -> list[npt.NDArray[np.generic]]:
    """Read the arrays of these names, of any type and shape. Raises ConfigError."""
    path = Path(file)
    try:
        with regular_file.opened(path) as raw, zipfile.ZipFile(raw) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > 2 * most_bytes:
                raise ConfigError(f"{path}: unpacks to more than {2 * most_bytes >> 20} MiB")
            raw.seek(0)
            with np.load(raw, allow_pickle=False) as arrays:
                missing = set(names) - set(arrays)
                if missing:
                    raise ConfigError(f"{path}: has no array {', '.join(sorted(missing))}")
                return [np.asarray(arrays[name]) for name in names]
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path}: is not a sound npz file without pickles") from error


def _require_in_range(what: str, rows: Features) -> None:
    flat = rows.reshape(len(rows), -1)
    try:
        words = encode(flat, what=what).view(np.int64)
    except RangeError as error:
        raise ConfigError(str(error)) from None
    energy = np.square(words / SCALE).sum(axis=1)
    if energy.max() >= _MOST_ENERGY:
        number = int(energy.argmax())
        raise ConfigError(
            f"{what}: the squares of number {number + 1} add up to {energy[number]:.0f}, and must "
            f"stay below {_MOST_ENERGY:.0f}; choose another picture or a smaller scale"
        )
