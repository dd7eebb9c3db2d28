"""What leaves the pair of parties is made uniform once more (docs/protocol.md#release).

A share of a result is an entry of tables that the dealer has made, so a dealer and a client
together would recognise it, and read at which place of which table it stood. A sharing of zero goes
on top, expanded from a key that only the two workers have: party 0 adds it, party 1 subtracts it.
The sum stays, no round is added, and each share is uniform to everybody but the parties.
"""

import os
from typing import TYPE_CHECKING, NewType

import torch

from parties.mpc.prg import ZeroStream
from privedge.errors import AlreadyExists, TranscriptMismatch

if TYPE_CHECKING:
    from parties.mpc.session import Session

NONCE_BYTES = 32

# A share that may leave: int64. Only `release` makes it.
Released = NewType("Released", torch.Tensor)


class ReleaseKey:
    """The key of one run, of both workers' nonces. It releases each name once. No useful repr."""

    def __init__(self, nonces: tuple[bytes, bytes], session: bytes) -> None:
        """`nonces`: party 0's and party 1's, which nobody else has. `session`: the run's id.

        Raises TranscriptMismatch for a nonce that is none.
        """
        if any(len(nonce) != NONCE_BYTES for nonce in nonces):
            raise TranscriptMismatch(f"a release nonce has {NONCE_BYTES} bytes")
        self._both = b"".join(nonces)
        self._session = session
        self._used: set[str] = set()

    def zero(self, name: str, shape: torch.Size) -> torch.Tensor:
        """z of that name, int64 of `shape`. Raises AlreadyExists for a name that was used."""
        # Two results under one z would tell the dealer and a client their difference.
        if name in self._used:
            raise AlreadyExists(f"{name} was released before in this run")
        self._used.add(name)
        return ZeroStream(self._both, session=self._session, name=name).take(shape)


def new_nonce() -> bytes:
    """A fresh nonce from the operating system; one for each worker and run."""
    return os.urandom(NONCE_BYTES)


def release(session: "Session", share: torch.Tensor, name: str) -> Released:
    """This party's share of the result `name`, int64 of any shape, as it may leave: uniform to
    everybody outside of the pair of parties. Local. Call it after Session.confirm.

    Raises AlreadyExists if this run has released `name` before.
    """
    zero = session.key.zero(name, share.shape).to(share.device)
    return Released(share + zero if session.party == 0 else share - zero)
