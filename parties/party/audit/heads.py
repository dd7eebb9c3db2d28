"""What each party records of the other one's audit log.

Party 0 calls about once a minute: both say the heads of their logs, and each writes the other's
into its own. Whoever rewrites one log, or cuts off its end, would have to change the other one too.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from parties.party.audit.chain import EMPTY, Head
from parties.party.audit.files import lines_of
from parties.party.audit.log import PEER_ACCEPTED, PEER_HEAD, AuditLog
from privedge.errors import Refused

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SaidHead:
    """The head of a log, and the number of its last line that says more than such a head."""

    head: Head = EMPTY
    last_event: int = 0


class PeerHeads:
    """One party's record of the other. Safe to call from several threads."""

    def __init__(self, audit: AuditLog, folder: Path, peer: int) -> None:
        """`folder` is that of this party's log, which remembers what was heard before."""
        self._audit, self._peer = audit, peer
        self._lock = threading.Lock()
        self._told = self._fault = ""
        self._last = SaidHead()
        for line in lines_of(folder):
            if _event(PEER_ACCEPTED) in line:
                self._fault = ""
            for found in heads_in([line]):
                if found is not None:  # a damaged line is a matter for `audit verify`
                    self._fault = self._differs(found[1]) or self._fault
                    self._last = SaidHead(found[1])

    @property
    def mine(self) -> SaidHead:
        """What this party says."""
        return SaidHead(*self._audit.state)

    def hear(self, said: SaidHead) -> None:
        """Record the other party's head, if its log has got further by more than such a record."""
        with self._lock:
            if differs := self._differs(said.head):
                self._fault = differs
                log.error("audit: %s", differs)
            elif said.last_event <= self._last.last_event:
                return
            self._last = said
            found = {"peer_number": said.head.number, "peer_sha256": said.head.sha256}
            self._audit.record(PEER_HEAD, **found)

    def _differs(self, head: Head) -> str:
        """Why this cannot be the log of which `_last` was the head; empty if it can."""
        before, log_of = self._last.head, f"the log of party {self._peer}"
        if head.number < before.number:
            return f"{log_of} has {head.number} lines, and had {before.number} before"
        if head.number == before.number and head != before:
            return f"{log_of} has another line {head.number} than before"
        return ""

    def exchange(self, ask: Callable[[SaidHead], SaidHead]) -> None:
        """Party 0: `ask` tells party 1 and returns what it says."""
        try:
            self.hear(ask(self.mine))
            self._told = ""
        except Refused as error:  # it may be away for hours
            if str(error) != self._told:
                self._told = str(error)
                log.warning("no head of party 1's audit log: %s", error)

    def fault(self) -> str:
        """What is wrong with the other party's log; empty if nothing is known."""
        return self._fault


def heads_in(lines: Iterable[bytes]) -> Iterator[tuple[str, Head] | None]:
    """When the other party's head was recorded, and the head; None for a damaged line."""
    for line in lines:
        if _event(PEER_HEAD) in line:
            yield _recorded(line)


def _event(name: str) -> bytes:
    return b'"event":"' + name.encode() + b'"'


def _recorded(line: bytes) -> tuple[str, Head] | None:
    try:
        fields = json.loads(line)
        number, sha256 = fields["peer_number"], fields["peer_sha256"]
        return str(fields["time"]), Head(int(number), str(sha256))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
