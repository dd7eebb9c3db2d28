"""One run of one batch at one party: exchanges with the other party, counted and compared.

Every value that is opened passes through `Session.exchange`, and nothing else reaches the other
party. Each exchange also carries a digest of all that came before: the run, the tuples drawn so
far, and what both parties saw alike (docs/protocol.md#transcript). So parties that are not in the
same run find out with the next exchange, and before any result leaves; that costs no round.

The digest is SHA-256, truncated, but the exchanged words enter it as AES-GCM tags, which need a
tenth of the time (0.05 against 0.6 ms for a MiB on one core). Their key is public. That finds every
accident. A party that deviates on purpose could send any digest; TLS keeps everybody else out. What
the last exchange itself brought is covered by TLS alone.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from parties.mpc.bundles import Supply
from parties.mpc.release import ReleaseKey
from privedge.errors import TranscriptMismatch
from privedge.sharing.cost import Phase

_DIGEST_WORDS = 2
_DIGEST_BYTES = 8 * _DIGEST_WORDS
# AES-GCM accepts less than 2 GiB at a time. One nonce is enough: nothing secret is under the key.
_TAGGED_BYTES = 1 << 30
_NONCE = bytes(12)


class PeerLink(Protocol):
    """A party's way to the other one."""

    def exchange(self, payload: bytes) -> bytearray:
        """Send `payload` and return what the other party sent in the same exchange."""


class Session:
    """The state of one run. `party` is 0 or 1; `key` is for what it releases, by release.py."""

    def __init__(self, party: int, link: PeerLink, tuples: Supply, key: ReleaseKey) -> None:
        self.party = party
        self.tuples = tuples
        self.key = key
        self._link = link
        self._phase = "network"
        self._phases: dict[str, Phase] = {}
        self._transcript = hashlib.sha256(tuples.run.session)
        # Once the number of a retry, which was always 0: part of every transcript since.
        self._transcript.update(bytes(8))
        self._tags = AESGCM(self._transcript.digest()[:16])
        self._compared = 0

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Exchanges so far and the bytes sent in them, by what they were for."""
        return tuple(self._phases.values())

    @property
    def rounds(self) -> int:
        """Exchanges so far."""
        return sum(phase.rounds for phase in self.phases)

    @property
    def bytes_sent(self) -> int:
        """Bytes sent to the other party, the digests included."""
        return sum(phase.bytes_to_peer for phase in self.phases)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the exchanges inside under this name."""
        outer, self._phase = self._phase, name
        try:
            yield
        finally:
            self._phase = outer

    def exchange(self, mine: torch.Tensor) -> torch.Tensor:
        """Swap equally large int64 tensors, of any shape, with the other party; theirs, flat. One
        round. What is given must be masked: it leaves as it is.

        Raises TranscriptMismatch if what came before differs between the parties.
        """
        # 1. The digest of all before this exchange: equal at both parties if they are in one run.
        digest = self._digest()
        # 2. Both send at once, so a round is one trip and not two.
        payload = b"".join([mine.reshape(-1).cpu().numpy().data, digest])
        theirs = self._link.exchange(payload)
        number = self.rounds
        spent = Phase(self._phase, 1, len(payload))
        known = self._phases.get(self._phase)
        self._phases[self._phase] = known.plus(spent) if known else spent
        # 3. Compare before anything is made of the words: another length or digest is another run.
        if len(theirs) != len(payload):
            raise TranscriptMismatch(
                f"round {number}: sent {len(payload)} bytes, received {len(theirs)}"
            )
        if theirs[-_DIGEST_BYTES:] != digest:
            raise TranscriptMismatch(f"round {number}: the parties saw different runs")
        # 4. What both have seen now is part of the next digest.
        self._see(payload, theirs)
        return torch.frombuffer(theirs, dtype=torch.int64)[:-_DIGEST_WORDS].to(mine.device)

    def confirm(self) -> None:
        """Make sure that all tuples drawn were compared. Call it before any result is released.

        One round, or none if the last exchange has compared them. Raises TranscriptMismatch.
        """
        if not self._phases or self._compared < len(self.tuples.used):
            with self.phase("confirm"):
                self.exchange(torch.empty(0, dtype=torch.int64))

    def _digest(self) -> bytes:
        for kind in self.tuples.used[self._compared :]:
            self._transcript.update(kind.purpose.encode() + b"\0")
        self._compared = len(self.tuples.used)
        return self._transcript.digest()[:_DIGEST_BYTES]

    def _see(self, mine: bytes, theirs: bytearray) -> None:
        """Both payloads, party 0's first at both parties, become part of the next digest."""
        self._transcript.update(len(mine).to_bytes(8, "little"))
        views = memoryview(mine), memoryview(theirs)
        for half in views if self.party == 0 else reversed(views):
            for start in range(0, len(half), _TAGGED_BYTES):
                piece = half[start : start + _TAGGED_BYTES]
                self._transcript.update(self._tags.encrypt(_NONCE, b"", piece))
