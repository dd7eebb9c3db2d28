"""Give a caller its result while the work that made it goes on."""

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

import grpc

from privedge.errors import PrivEdgeError

log = logging.getLogger(__name__)

T = TypeVar("T")
# The work goes on once the result is on its way, or after so many seconds.
_SENT_S = 1.0
# The front end passes the result on within this time. It shares the machine, and goes first.
_HEAD_START_S = 0.005


def released(work: Callable[[Callable[[T], object]], object], context: grpc.ServicerContext) -> T:
    """Run `work(release)` in a thread of its own, and return what it releases first.

    The work goes on once the call of `context` is over. What it raises before it releases anything
    is raised here; what it raises later is logged. Raises PrivEdgeError if it releases nothing.
    """
    outcomes: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()
    sent = threading.Event()
    done: list[T] = []

    def release(result: T) -> None:
        if not context.add_callback(sent.set):
            sent.set()
        done.append(result)
        outcomes.put((result, None))
        sent.wait(_SENT_S)
        time.sleep(_HEAD_START_S)

    def run() -> None:
        try:
            work(release)
            if not done:
                outcomes.put((None, PrivEdgeError("the work ended without a result")))
        except BaseException as error:
            if not done:
                outcomes.put((None, error))
                return
            kind = str(error) if isinstance(error, PrivEdgeError) else type(error).__name__
            log.warning("after the answer: %s", kind)

    # In the same context, so that the ids of the queries stay in the log.
    inside = contextvars.copy_context()
    threading.Thread(target=inside.run, args=(run,), name="run", daemon=True).start()
    _, error = outcomes.get()
    if error is not None:
        raise error
    return done[0]
