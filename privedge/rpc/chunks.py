"""Cut long byte strings into chunks that fit one message."""

from collections.abc import Iterator

CHUNK_BYTES = 1 << 20


def cut(raw: bytes | memoryview, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield `raw` in pieces of `size` bytes, the last one shorter; nothing if `raw` is empty."""
    if isinstance(raw, bytes) and 0 < len(raw) <= size:
        yield raw  # unchanged, because slicing bytes would copy them
        return
    view = memoryview(raw).cast("B")
    for start in range(0, len(view), size):
        yield bytes(view[start : start + size])
