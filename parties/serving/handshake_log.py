"""A log line and a counter for TLS handshakes that fail: what gRPC itself says of them.

gRPC offers no hook for them, and writes to file descriptor 2. So its lines go into a pipe and this
process's own lines go on to standard error. What else is written to the descriptor is passed on.
The other side of a failed handshake is unknown, and so is its address.
"""

import atexit
import faulthandler
import logging
import os
import re
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass

from privedge.rpc.causes import cause_of

log = logging.getLogger(__name__)

# At this level, and not above it, gRPC tells of handshakes. It reads the variable when imported.
_VARIABLE, _LEVEL = "GRPC_VERBOSITY", "INFO"
_LINE_OF_GRPC = re.compile(rb"[IWE][0-9]{4} [0-9:.]+ ")
_FAILED = b"Handshake failed with error"
# Of one kind, only so often; the line says how many there were.
_LOG_EVERY_S = 10.0
# How long the end of the process waits for the last lines.
_LAST_LINES_S = 1.0
_UNKNOWN, _UNKNOWN_CAUSE = "failed for a reason that gRPC does not tell", "unknown"


class HandshakeLog:
    """What is written to a descriptor, line by line."""

    def __init__(self, passed_on: int) -> None:
        """`passed_on` is the descriptor for lines that are not gRPC's."""
        # By reason for people, and by name for metrics.
        self.failed: Counter[str] = Counter()
        self.causes: Counter[str] = Counter()
        self.passed_on = passed_on
        self._logged: dict[str, float] = {}

    def read(self, source: int) -> None:
        """Read until `source` ends."""
        with os.fdopen(source, "rb") as lines:
            for line in lines:
                if not _LINE_OF_GRPC.match(line):
                    os.write(self.passed_on, line)
                elif _FAILED in line:
                    self._count(line.decode("utf-8", "replace"))

    def _count(self, line: str) -> None:
        cause = cause_of(line)
        reason = cause.reason if cause else _UNKNOWN
        self.failed[reason] += 1
        self.causes[cause.name if cause else _UNKNOWN_CAUSE] += 1
        now = time.monotonic()
        if now >= self._logged.get(reason, now):
            self._logged[reason] = now + _LOG_EVERY_S
            log.warning("a TLS handshake failed: the other side: %s", _said(reason, self.failed))


@dataclass
class _Started:
    log: HandshakeLog | None = None


_STARTED = _Started()


def _said(reason: str, failed: Counter[str]) -> str:
    return f"{reason} ({failed[reason]} so far)"


def standard_error() -> int | None:
    """Return the descriptor of standard error for a child process; None if it is still 2."""
    return _STARTED.log.passed_on if _STARTED.log is not None else None


def failed_handshakes() -> dict[str, int]:
    """Return how many handshakes of this process failed so far, by the name of the cause."""
    return dict(_STARTED.log.causes) if _STARTED.log is not None else {}


def log_failed_handshakes() -> HandshakeLog | None:
    """Begin, for as long as the process lives. Call it before gRPC is imported.

    Returns None, and leaves standard error alone, if somebody wants gRPC's own log.
    """
    if os.environ.setdefault(_VARIABLE, _LEVEL) != _LEVEL:
        return None
    own = os.dup(2)
    source, sink = os.pipe()
    # gRPC must never wait for a reader that waits for it.
    os.set_blocking(sink, False)
    os.dup2(sink, 2)
    os.close(sink)
    sys.stderr = os.fdopen(own, "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    faulthandler.enable(sys.stderr)
    found = _STARTED.log = HandshakeLog(own)
    reader = threading.Thread(target=found.read, args=(source,), name="handshakes", daemon=True)
    reader.start()
    atexit.register(_end, reader, own)
    return found


def _end(reader: threading.Thread, own: int) -> None:
    """Pass on what was written last: the pipe ends with its last writer, descriptor 2."""
    os.dup2(own, 2)
    reader.join(_LAST_LINES_S)
