"""A party's audit log: events as they happen, and counts of what happens often.

An event of a model is on disk before its caller is answered. What happens often, queries and
refusals, is counted by who and what, and written once in `tally_s`. If the disk is full, lines wait
in memory and health says so; the party serves on.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from parties.party.audit.chain import Head, line_after
from parties.party.audit.files import AuditFiles

log = logging.getLogger(__name__)

# Kinds of lines that are tallied at once; more are counted together.
_MANY = 10_000
_OTHERS = "others"
PEER_HEAD = "peer head"
# Its operator knows why the other party's log is another one than before.
PEER_ACCEPTED = "peer log accepted"

_Key = tuple[str, tuple[tuple[str, str], ...]]


class AuditLog:
    """Safe to call from many threads. `start` begins, and `stop` writes the last lines."""

    def __init__(self, files: AuditFiles, tally_s: float) -> None:
        self._files, self._tally_s = files, tally_s
        self._writing = threading.Lock()
        self._head = files.head
        # Lines that are not on disk yet, because it is full.
        self._waiting: list[bytes] = []
        self._stuck = False
        # The last line that says more than the other party's head.
        self._last_event = 0
        self._counting = threading.Lock()
        self._tallies: dict[_Key, dict[str, int]] = {}
        self._soon: list[tuple[str, dict[str, Any]]] = []
        self._wake = threading.Event()
        self._stopping = False
        self._each: list[Callable[[], object]] = []
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def start(self) -> None:
        """Record the start, and begin to write tallies."""
        self.record("start")
        self._thread.start()

    def stop(self) -> None:
        """Write what is counted, record the end, and close."""
        self._stopping = True
        self._wake.set()
        self._thread.join()
        self._write_counts()
        self.record("stop")
        self._files.close()

    def each_time(self, act: Callable[[], object]) -> None:
        """Call `act` whenever tallies were written, in the log's own thread."""
        self._each.append(act)

    def record(self, event: str, **fields: Any) -> None:
        """Write one line. It is on disk on return, unless the disk is full."""
        self._write([(event, fields)])

    def record_all(self, event: str, each: Iterable[dict[str, Any]]) -> None:
        """Write as many lines of one event at once."""
        self._write([(event, fields) for fields in each])

    def soon(self, event: str, **fields: Any) -> None:
        """Write one line in the log's own thread. For callers who must not wait."""
        with self._counting:
            self._soon.append((event, fields))
        self._wake.set()

    def count(self, event: str, who: dict[str, str], **amounts: int) -> None:
        """Add to the tally of an event and who it was. For callers who must not wait."""
        key = event, tuple(who.items())
        with self._counting:
            if key not in self._tallies and len(self._tallies) >= _MANY:
                key = event, tuple((name, _OTHERS) for name in who)
            tally = self._tallies.setdefault(key, {})
            for name, amount in amounts.items():
                tally[name] = tally.get(name, 0) + amount

    @property
    def state(self) -> tuple[Head, int]:
        """The head, and the number of the last line that says more than the other party's head."""
        with self._writing:
            return self._head, self._last_event

    def fault(self) -> str:
        """What is wrong with the log; empty if nothing is."""
        return "lines are not on disk; free some space" if self._stuck else ""

    def _run(self) -> None:
        next_at = 0.0
        while not self._stopping:
            if self._wake.wait(max(0.0, next_at - time.monotonic())):
                self._wake.clear()
                self._write_soon()
            else:
                next_at = time.monotonic() + self._tally_s
                self._write_counts()
                for act in self._each:
                    try:
                        act()
                    except Exception as error:  # a disk's or database's: the next try may succeed
                        log.warning("after the tallies: %s", type(error).__name__)

    def _write_soon(self) -> None:
        with self._counting:
            lines, self._soon = self._soon, []
        self._write(lines)

    def _write_counts(self) -> None:
        self._write_soon()
        if self._stuck:
            return  # they go on being counted together
        with self._counting:
            tallies, self._tallies = self._tallies, {}
        self._write([(event, {**dict(who), **found}) for (event, who), found in tallies.items()])

    def _write(self, lines: list[tuple[str, dict[str, Any]]]) -> None:
        if not lines and not self._waiting:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._writing:
            first = self._head.number - len(self._waiting) + 1
            for event, fields in lines:
                said = {"time": now, "event": event, **fields}
                line, self._head = line_after(self._head, said)
                self._waiting.append(line)
                if event != PEER_HEAD:
                    self._last_event = self._head.number
            self._stuck = not self._files.append(self._waiting, first)
            if not self._stuck:
                self._waiting = []
