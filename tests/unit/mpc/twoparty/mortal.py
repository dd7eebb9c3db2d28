"""A party of a making, in a process of its own, that kills itself at an instant of its choice."""

import hashlib
import os
import signal
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np
import torch

from parties.mpc.bundles import Bundle
from parties.mpc.dealing import SessionId
from parties.mpc.fixed_product import FixedProduct
from parties.mpc.fused.choice import Choice
from parties.mpc.fused.tuples import Comparison
from parties.mpc.tuples import TupleKind
from parties.mpc.twoparty.learned import Models, Weights
from parties.mpc.twoparty.maker import TwoParty
from privedge.sharing.ring import Words

WEIGHT = FixedProduct("dense", "w", (2, 2, 3), (2, 1, 3))
MODELS: Models = (b"ana", b"ben")
PLAN: list[TupleKind] = [WEIGHT, Comparison((70,), 16), Choice(5, 1, 3)]
# One of the join, five of a pairing, three of a weight, eight of tuples and three of a product.
EXCHANGES = 20
# Shorter messages are nonces' lengths and empty ones, and are the same each time.
_LEAST_BYTES = 16


class Instant(NamedTuple):
    """Of its death: before or after the exchange of this number."""

    exchange: int
    after: bool


class Life(NamedTuple):
    """What became of one making: B and W * B as this party has them, and digests of all that it
    sent and drew. No product if the other one died.
    """

    product: tuple[Words, Words] | None
    exchanges: int
    sent: list[bytes]
    drawn: list[bytes]


class _Link:
    """A PeerLink over a pipe."""

    def __init__(self, pipe: Connection, death: Instant | None) -> None:
        self._pipe, self._death = pipe, death
        self.count = 0
        self.sent: list[bytes] = []

    def exchange(self, payload: bytes) -> bytearray:
        self.count += 1
        self._die(after=False)
        # In a thread of its own: both send first, and a pipe holds little.
        sending = threading.Thread(target=self._send, args=(payload,))
        sending.start()
        try:
            theirs = bytearray(self._pipe.recv_bytes())
        finally:
            sending.join()
        # With nothing unread: the other one's reading would fail, whatever was sent before.
        self._die(after=True)
        return theirs

    def _send(self, payload: bytes) -> None:
        if len(payload) >= _LEAST_BYTES:
            self.sent.append(hashlib.sha256(payload).digest())
        # If the other one has died, reading shows it too.
        with suppress(OSError):
            self._pipe.send_bytes(payload)

    def _die(self, *, after: bool) -> None:
        if self._death == Instant(self.count, after):
            os.kill(os.getpid(), signal.SIGKILL)


def lives(
    index: int,
    share: Words,
    pipes: list[Connection],
    death: Instant | None,
    told: Connection,
) -> None:
    """Make a bundle over each of these pipes, one life of the other party after the other."""
    weights: Weights = {}
    for pipe in pipes:
        link = _Link(pipe, death)
        bundle: Bundle | None = None
        with suppress(EOFError, OSError):
            pairing = TwoParty.joined(index, link, None, weights)
            weights = pairing.weights
            pairing.learn(WEIGHT, torch.from_numpy(share.view(np.int64)), MODELS)
            (bundle,) = pairing.bundles(PLAN, [_NAME], MODELS)
        pipe.close()
        told.send(_life(link, bundle))


_NAME = SessionId(b"a bundle")


def _life(link: _Link, bundle: Bundle | None) -> Life:
    if bundle is None:
        return Life(None, link.count, link.sent, [])
    parts = [part for _, part in bundle.parts]
    mask, product = (part.numpy().view(np.uint64) for part in parts[0])  # type: ignore[union-attr]
    drawn = [part.numpy() for shares in parts[1:] for part in shares.free]  # type: ignore[union-attr]
    digests = [hashlib.sha256(part.tobytes()).digest() for part in (mask, *drawn)]
    return Life((mask, product), link.count, link.sent, digests)
