"""A function at two parties, each in a forked process of its own, with a session between them.

The session is the servers' own; the link is a socket pair, and each process has a dealer inside. So
each knows both seeds: for tests and figures, with data that is nobody's secret.
"""

import json
import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from parties.mpc.dealing import Dealer, SessionId, Tuples, new_seed
from parties.mpc.fixed_product import MaskedWeights
from parties.mpc.release import ReleaseKey, new_nonce
from parties.mpc.session import Session
from privedge_lab.reference.recording import NearLink

_MAX_ELEMENTS = 1 << 26
_HEAD = struct.Struct("<Q")

# Called at party 0 and at party 1; what it returns is JSON, for the caller.
Half = Callable[[Session, MaskedWeights], Any]


@dataclass(frozen=True)
class Ended:
    """How a half ended: its `value`, or the text of what it raised; both None if it was stopped."""

    value: Any = None
    error: str | None = None
    done: bool = False


class SocketLink:
    """mpc.session.PeerLink over one end of a socket pair."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def exchange(self, payload: bytes) -> bytearray:
        """Implements PeerLink.exchange."""
        # Both send at once, so each must receive while it sends.
        sender = threading.Thread(target=self._send, args=(payload,))
        sender.start()
        (length,) = _HEAD.unpack(self._received(_HEAD.size))
        theirs = self._received(length)
        sender.join()
        return theirs

    def _send(self, payload: bytes) -> None:
        try:
            self._end.sendall(_HEAD.pack(len(payload)))
            self._end.sendall(payload)
        except OSError:
            # The other half is gone: receiving says so.
            pass

    def _received(self, length: int) -> bytearray:
        whole = bytearray(length)
        rest = memoryview(whole)
        while rest:
            count = self._end.recv_into(rest)
            if not count:
                raise ConnectionError("the other half has ended")
            rest = rest[count:]
        return whole


def at_two_parties(half: Half, *, limit_s: float) -> tuple[Ended, Ended]:
    """Run `half` in two forked processes, which end after `limit_s` seconds at the latest."""
    ends = socket.socketpair()
    run, seeds = SessionId(os.urandom(16)), (new_seed(), new_seed())
    masked = MaskedWeights.fresh(b""), MaskedWeights.fresh(b"")
    nonces = new_nonce(), new_nonce()
    children = []
    for party in (0, 1):
        back, out = os.pipe()
        child = os.fork()
        if not child:
            ends[1 - party].close()
            dealer = Dealer(
                run, seeds, (masked[0].seed, masked[1].seed), max_elements=_MAX_ELEMENTS
            )
            tuples = Tuples(party, run, seeds[party], NearLink(dealer, party))
            key = ReleaseKey(nonces, run.session)
            session = Session(party, SocketLink(ends[party]), tuples, key)
            _finish(half, session, masked[party], out)
        os.close(out)
        children.append((child, back))
    for end in ends:
        end.close()
    until = time.monotonic() + limit_s
    first, second = (_ended(back, until) for _, back in children)
    for child, back in children:
        os.close(back)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return first, second


def _finish(half: Half, session: Session, masked: MaskedWeights, out: int) -> None:
    """Run one half, write how it ended to `out`, and end this process."""
    try:
        ended = Ended(half(session, masked), done=True)
    except BaseException as error:  # a child has nobody to raise it to
        ended = Ended(error=f"{type(error).__name__}: {error}", done=True)
    with os.fdopen(out, "w") as pipe:
        json.dump([ended.value, ended.error, ended.done], pipe)
    os._exit(0)


def _ended(back: int, until: float) -> Ended:
    whole = b""
    while select.select([back], [], [], max(0.0, until - time.monotonic()))[0]:
        piece = os.read(back, 1 << 16)
        if not piece:
            if not whole:
                return Ended(error="the process ended", done=True)
            return Ended(*json.loads(whole))
        whole += piece
    return Ended()
