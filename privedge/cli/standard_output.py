"""Standard output that remembers why a write failed, such as a full disk or a closed pipe."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast


class StandardOutput:
    """A stream that keeps the error of a failed write in `lost`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        """Write to the stream."""
        with self._watched():
            return self._stream.write(text)

    def flush(self) -> None:
        """Flush the stream."""
        with self._watched():
            self._stream.flush()

    def finish(self) -> None:
        """Write the rest of the output. A failure is only recorded in `lost`."""
        with suppress(OSError):
            self.flush()

    def in_words(self) -> str | None:
        """Say what was lost and why. None if nothing was, or if a reader like `head` left."""
        if self.lost is None or self.lost.errno == errno.EPIPE:
            return None
        return f"the output is lost: cannot be written ({self.lost.strerror})"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # At its end the interpreter flushes the stream again, and would print an error. Writing
            # to /dev/null succeeds.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            self.lost = error
            raise


@contextmanager
def remembered() -> Iterator[StandardOutput]:
    """Remember errors of standard output inside the block. A process may have none."""
    before = sys.stdout
    output = StandardOutput(before or io.StringIO())
    if before is not None:
        sys.stdout = cast(TextIO, output)
    try:
        yield output
    finally:
        sys.stdout = before
