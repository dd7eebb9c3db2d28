"""What runs on the calling thread: protocols on a session, and marked weights.

CrypTen keeps its communicator, its provider and its configuration in globals. Two runs in threads
of one worker would mix their shares, so all of it hangs on the thread here, and what install.py
puts into CrypTen's classes holds no state.
"""

import threading
from typing import TYPE_CHECKING

from parties.mpc.session import Session
from privedge.errors import NotReady

if TYPE_CHECKING:
    from parties.mpc.crypten_backend.marks import Marks
    from parties.mpc.crypten_backend.reference import Reference


class _Running(threading.local):
    protocols: "Reference | None" = None
    marks: "Marks | None" = None
    # Whether CrypTen's autograd records what is computed.
    grad: bool = True


running = _Running()


def attach(protocols: "Reference") -> None:
    """Compute with these protocols on this thread, until `detach`."""
    running.protocols = protocols


def detach() -> None:
    """Let go of the thread's protocols and their session."""
    running.protocols = None


def protocols() -> "Reference":
    """The thread's protocols. Raises NotReady if there are none."""
    if running.protocols is None:
        raise NotReady("no MPC session is running in this thread")
    return running.protocols


def session() -> Session:
    """The thread's session. Raises NotReady if there is none."""
    return protocols().session


def party() -> int:
    """0 or 1: which party the thread computes for. Raises NotReady if there is no session."""
    return protocols().session.party
