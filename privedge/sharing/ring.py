"""Words: arrays over the ring Z_2^64, the only numbers that ever cross between processes.

In memory a word is a numpy uint64, whose wrap-around is defined. On the wire and on disk it is
eight little-endian bytes. torch sees the same bits as int64.
"""

import numpy as np
import numpy.typing as npt

from privedge.errors import ShareError

Words = npt.NDArray[np.uint64]

WORD_BYTES = 8
_WIRE = np.dtype("<u8")


def to_bytes(words: Words) -> bytes:
    """Encode words (uint64 of any shape) as eight little-endian bytes each, row-major."""
    return np.ascontiguousarray(words, dtype=_WIRE).tobytes()


def wire_view(words: Words) -> memoryview:
    """Return the bytes of `to_bytes`, if possible without a copy; for large arrays."""
    return np.ascontiguousarray(words, dtype=_WIRE).reshape(-1).view(np.uint8).data


def from_bytes(raw: bytes | bytearray | memoryview, shape: tuple[int, ...]) -> Words:
    """Decode words, uint64 of `shape`, from `to_bytes`.

    Raises ShareError unless `raw` has exactly eight bytes for each word of `shape`.
    """
    expected = WORD_BYTES * int(np.prod(shape, dtype=np.int64))
    if len(raw) != expected:
        raise ShareError(f"expected {expected} bytes for shape {shape}, got {len(raw)}")
    return np.frombuffer(raw, dtype=_WIRE).reshape(shape).astype(np.uint64, copy=False)
