"""What runs on the calling thread: a session, the engine that computes on it, and marked weights.

CrypTen keeps its communicator, its provider and its configuration in globals. Two runs in threads
of one worker would mix their shares, so all of it hangs on the thread here, and what install.py
puts into CrypTen's classes holds no state.
"""

import threading
from typing import TYPE_CHECKING

from parties.mpc.session import Session
from privedge.errors import NotReady

if TYPE_CHECKING:
    from parties.mpc.crypten_backend.engine import CryptenEngine
    from parties.mpc.crypten_backend.marks import Marks


class _Running(threading.local):
    session: Session | None = None
    engine: "CryptenEngine | None" = None
    marks: "Marks | None" = None
    # Whether CrypTen's autograd records what is computed.
    grad: bool = True


running = _Running()


def session() -> Session:
    """The thread's session. Raises NotReady if there is none."""
    if running.session is None:
        raise NotReady("no MPC session is running in this thread")
    return running.session


def engine() -> "CryptenEngine":
    """The thread's engine. Raises NotReady if there is none."""
    if running.engine is None:
        raise NotReady("no MPC session is running in this thread")
    return running.engine


def party() -> int:
    """0 or 1: which party the thread computes for. Raises NotReady if there is no session."""
    return session().party
