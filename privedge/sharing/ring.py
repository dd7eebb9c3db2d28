"""Words: arrays over the ring Z_2^64, the only numbers that ever cross between processes.

In memory a word is a numpy uint64 (wrap-around is defined there); on the wire and on disk it is
eight little-endian bytes. torch sees the same bits as int64.
"""

import numpy as np
import numpy.typing as npt

from privedge.errors import ShareError

Words = npt.NDArray[np.uint64]

WORD_BYTES = 8
_WIRE = np.dtype("<u8")


def to_bytes(words: Words) -> bytes:
    """Eight little-endian bytes per word, row-major."""
    return np.ascontiguousarray(words, dtype=_WIRE).tobytes()


def wire_view(words: Words) -> memoryview:
    """The bytes of `to_bytes`, not copied if memory has this form already; for large arrays."""
    return np.ascontiguousarray(words, dtype=_WIRE).reshape(-1).view(np.uint8).data


def from_bytes(raw: bytes | bytearray | memoryview, shape: tuple[int, ...]) -> Words:
    """Inverse of `to_bytes`. Raises ShareError unless `raw` holds exactly `shape` words."""
    expected = WORD_BYTES * int(np.prod(shape, dtype=np.int64))
    if len(raw) != expected:
        raise ShareError(f"expected {expected} bytes for shape {shape}, got {len(raw)}")
    return np.frombuffer(raw, dtype=_WIRE).reshape(shape).astype(np.uint64, copy=False)
