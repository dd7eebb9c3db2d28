"""One run of one batch at one party: exchanges with the other party, counted and hashed.

Every value that is opened passes through `Session.exchange`, and nothing else reaches the other
party. The transcript covers what both parties see alike, so comparing its hash before the result
leaves shows whether both took part in the same run (protocol.md 8).
"""

import hashlib
from typing import Protocol

import torch

from privedge.errors import TranscriptMismatch
from privedge.mpc.dealing import Tuples


class PeerLink(Protocol):
    """A party's way to the other one."""

    def exchange(self, payload: memoryview) -> bytearray:
        """Send `payload` (bytes) and return what the other party sent in the same exchange."""


class Session:
    """The state of one run. `party` is 0 or 1."""

    def __init__(self, party: int, link: PeerLink, tuples: Tuples) -> None:
        self.party = party
        self.tuples = tuples
        self.rounds = 0
        self.bytes_sent = 0
        self._link = link
        self._transcript = hashlib.sha256()

    def exchange(self, mine: torch.Tensor) -> torch.Tensor:
        """Swap equally large int64 tensors with the other party, in one round; theirs, flat."""
        payload = mine.contiguous().numpy().data.cast("B")
        theirs = self._swap(payload)
        if len(theirs) != len(payload):
            raise TranscriptMismatch(
                f"round {self.rounds}: sent {len(payload)} bytes, received {len(theirs)}"
            )
        return torch.frombuffer(theirs, dtype=torch.int64)

    def confirm(self) -> None:
        """Compare transcripts. Raises TranscriptMismatch; call it before any result is released."""
        digest = self._transcript.copy()
        for kind in self.tuples.used:
            digest.update(kind.purpose.encode() + b"\0")
        mine = digest.digest()
        if self._swap(memoryview(mine)) != mine:
            raise TranscriptMismatch("the parties saw different runs")

    def _swap(self, payload: memoryview) -> bytearray:
        theirs = self._link.exchange(payload)
        self.rounds += 1
        self.bytes_sent += len(payload)
        first, second = (payload, theirs) if self.party == 0 else (theirs, payload)
        self._transcript.update(len(first).to_bytes(8, "little"))
        self._transcript.update(first)
        self._transcript.update(second)
        return theirs
