"""Tells the front end every second that this worker serves: parties/party/workers/processes.py."""

import os
import sys
import threading
import time

_PAUSE_S = 1.0


class Heartbeat:
    """One byte a second on what was the standard output when this was made."""

    def __init__(self) -> None:
        """From now on whatever prints does so on standard error."""
        sys.stdout.flush()
        self._out = os.dup(1)
        # Not descriptor 2: it may be a pipe, which ends with its last writer (handshake_log.py).
        os.dup2(sys.stderr.fileno(), 1)

    def start(self) -> None:
        """Begin, in a thread that ends with the process."""
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def _run(self) -> None:
        try:
            while True:
                os.write(self._out, b".")
                time.sleep(_PAUSE_S)
        except OSError:  # the front end has gone, and this process is about to
            return
