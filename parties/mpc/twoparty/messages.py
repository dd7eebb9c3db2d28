"""The bytes of one step, written in order by one party and read in that order by the other."""

from typing import Any

import numpy as np
import numpy.typing as npt

from privedge.errors import TranscriptMismatch
from privedge.sharing.ring import WORD_BYTES, Words

_BYTE = 8


class Writer:
    """Collects one message."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def put(self, words: npt.NDArray[Any]) -> None:
        """Any array, as it is."""
        self._parts.append(words.tobytes())

    def cut(self, words: Words, bits: int) -> None:
        """The low `bits` of words (n,), in whole bytes. What is above in the last byte is sent too,
        so it must be masked like the rest.
        """
        wide = -(-bits // _BYTE)
        self.put(np.ascontiguousarray(words).view(np.uint8).reshape(-1, WORD_BYTES)[:, :wide])

    def message(self) -> bytes:
        """All of it."""
        return b"".join(self._parts)


class Reader:
    """Takes one message apart. Raises TranscriptMismatch for one that is too short or too long."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._at = 0

    def take(self, shape: tuple[int, ...], kind: type = np.uint64) -> npt.NDArray[Any]:
        """What `put` wrote of an array of that shape."""
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        if self._at + size > len(self._message):
            raise TranscriptMismatch("making randomness: the other party's message is too short")
        part: npt.NDArray[Any] = np.frombuffer(self._message, kind, int(np.prod(shape)), self._at)
        self._at += size
        return part.reshape(shape)

    def cut(self, count: int, bits: int) -> Words:
        """What `cut` wrote: (count,), with anything above `bits`."""
        wide = -(-bits // _BYTE)
        words = np.zeros((count, WORD_BYTES), np.uint8)
        words[:, :wide] = self.take((count, wide), np.uint8)
        grown: Words = words.view(np.uint64).reshape(-1)
        return grown

    def end(self) -> None:
        """All must have been taken."""
        if self._at != len(self._message):
            raise TranscriptMismatch("making randomness: the other party's message is too long")
