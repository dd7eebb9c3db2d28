"""What each party records of the other one's audit log.

Party 0 calls about once a minute: both say the heads of their logs, and each writes the other's
into its own. Whoever rewrites one log, or cuts off its end, would have to change the other one too.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from parties.party.audit.chain import EMPTY, Head
from parties.party.audit.files import files_of
from parties.party.audit.log import PEER_HEAD, AuditLog
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
        self._last = SaidHead(_last_heard(folder))
        self._fault = self._told = ""

    @property
    def mine(self) -> SaidHead:
        """What this party says."""
        return SaidHead(*self._audit.state)

    def hear(self, said: SaidHead) -> None:
        """Record the other party's head, if its log has got further by more than such a record."""
        with self._lock:
            before, self._last = self._last, said
            if said.head.number < before.head.number:
                self._fault = (
                    f"the log of party {self._peer} has {said.head.number} lines, and had "
                    f"{before.head.number} before"
                )
                log.error("audit: %s", self._fault)
            elif said.last_event <= before.last_event:
                self._last = before
                return
            found = {"peer_number": said.head.number, "peer_sha256": said.head.sha256}
            self._audit.record(PEER_HEAD, **found)

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


def heads_in(lines: Iterator[bytes]) -> Iterator[tuple[str, Head]]:
    """When the other party's head was recorded, and the head. Raises KeyError or ValueError."""
    for line in lines:
        if b'"event":"' + PEER_HEAD.encode() in line:
            fields = json.loads(line)
            yield fields["time"], Head(fields["peer_number"], fields["peer_sha256"])


def _last_heard(folder: Path) -> Head:
    for file in reversed(files_of(folder)):
        with file.open("rb") as lines:
            try:
                found = list(heads_in(iter(lines)))
            except (KeyError, ValueError):  # `audit verify` says more
                found = []
        if found:
            return found[-1][1]
    return EMPTY
