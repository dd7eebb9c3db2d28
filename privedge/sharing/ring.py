"""Words: arrays over the ring Z_2^64, the only numbers that ever cross between processes.

In memory a word is a numpy uint64, whose wrap-around is defined. On the wire and on disk it is
eight little-endian bytes, or of a word of b < 64 bits the low ones: ceil(b / 8) bytes. torch sees
the same bits as int64.
"""

import numpy as np
import numpy.typing as npt

from privedge.errors import ShareError

Words = npt.NDArray[np.uint64]

RING_BITS = 64
WORD_BYTES = 8
_WIRE = np.dtype("<u8")


def width(bits: int) -> int:
    """Return how many bytes a word of so many bits has on the wire."""
    return -(-bits // 8)


def to_bytes(words: Words, bits: int = RING_BITS) -> bytes:
    """Encode words (uint64 of any shape), little-endian and row-major. Of each the low `bits` are
    kept: shares modulo 2^64 become shares modulo 2^bits.
    """
    return bytes(wire_view(words, bits))


def wire_view(words: Words, bits: int = RING_BITS) -> memoryview:
    """Return the bytes of `to_bytes`, if possible without a copy; for large arrays."""
    flat = np.ascontiguousarray(words, dtype=_WIRE).reshape(-1)
    if bits == RING_BITS:
        return flat.view(np.uint8).data
    low = (flat & _WIRE.type((1 << bits) - 1)).view(np.uint8).reshape(-1, WORD_BYTES)
    return np.ascontiguousarray(low[:, : width(bits)]).reshape(-1).data


def from_bytes(
    raw: bytes | bytearray | memoryview, shape: tuple[int, ...], bits: int = RING_BITS
) -> Words:
    """Decode words, uint64 of `shape`, from `to_bytes`. Bits above `bits` are dropped.

    Raises ShareError unless `raw` has exactly as many bytes as `shape` needs.
    """
    count, size = int(np.prod(shape, dtype=np.int64)), width(bits)
    if len(raw) != size * count:
        raise ShareError(f"expected {size * count} bytes for shape {shape}, got {len(raw)}")
    if bits == RING_BITS:
        return np.frombuffer(raw, dtype=_WIRE).reshape(shape).astype(np.uint64, copy=False)
    words = np.zeros(count, dtype=_WIRE)
    words.view(np.uint8).reshape(count, WORD_BYTES)[:, :size] = np.frombuffer(
        raw, np.uint8
    ).reshape(count, size)
    words &= _WIRE.type((1 << bits) - 1)
    return words.reshape(shape).astype(np.uint64, copy=False)
