"""A thread of every server that looks at certificate files when nobody calls."""

import logging
import threading

from privedge.rpc import renewal

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 2.0


def watch_certificates() -> None:
    """Look for as long as the process lives."""
    threading.Thread(target=_run, name="certificate watch", daemon=True).start()


def _run() -> None:
    pause = threading.Event()
    while not pause.wait(_LOOK_EVERY_S):
        try:
            renewal.look_at_all()
        except Exception as error:  # whatever it is, this thread must go on
            log.error("looking at the certificates failed: %s", type(error).__name__)
