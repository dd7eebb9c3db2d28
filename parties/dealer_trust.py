"""Whether this party still takes randomness from its dealer. Sees public facts and used-up keys.

A dealer that was found to deal wrongly is refused until an operator acts: a file in the party's
state folder says so to all its processes, and holds what was found. It stays over restarts.
"""

import json
import logging
import time
from datetime import UTC, datetime
from pathlib import Path

from privedge import private_file
from privedge.errors import WrongRandomness

log = logging.getLogger(__name__)

NAME = "dealer-refused.json"
_ADVICE = f"docs/how-to/dealer-refused.md says what to do; remove {NAME} to take it up again"


class DealerTrust:
    """Safe to use from several threads and processes."""

    def __init__(self, state: Path) -> None:
        """`state`: the party's folder."""
        self._file = state / NAME

    def fault(self) -> str:
        """Why nothing is computed; empty if the dealer is trusted."""
        return f"the dealer dealt wrong randomness ({NAME})" if self._file.exists() else ""

    def check(self) -> None:
        """Raises WrongRandomness while the dealer is refused."""
        if fault := self.fault():
            raise WrongRandomness(f"{fault}; {_ADVICE}")

    def refuse(self, session: bytes, what: str) -> None:
        """Refuse the dealer from now on. `what`: which word was wrong; public.

        What was found first stays: later findings are logged only.
        """
        log.error("the dealer dealt wrong randomness: %s; session %s", what, session.hex())
        if self._file.exists():
            return
        found = {
            "found": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds"),
            "session": session.hex(),
            "what": what,
        }
        private_file.write(self._file, (json.dumps(found, indent=1) + "\n").encode())
