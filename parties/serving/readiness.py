"""Whether a server can serve, cause by cause, in its health checks and its log.

The empty service says only that the process is alive, "privedge.v1.Party" whether it serves, and
"privedge.v1.Party/disk" how one cause stands.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from parties.periodic import Periodic
from parties.serving import notify
from parties.serving.health import Health

log = logging.getLogger(__name__)

# How often all causes are looked at.
_LOOK_S = 1.0


@dataclass(frozen=True)
class Cause:
    """One thing that a server needs.

    fault: says what is wrong with it now, in one line without secrets; empty if nothing is.
    blocks: whether the server cannot serve meanwhile. If not, its operator is only warned.
    """

    name: str
    fault: Callable[[], str]
    blocks: bool = True


class Readiness:
    """A thread that looks at all causes. `faults` may be read from any thread."""

    def __init__(self, name: str, service: str, causes: Sequence[Cause], statuses: Health) -> None:
        """`name` is the server's, for its log: "party 0"."""
        self._name = name
        self._service = service
        self._causes = causes
        self._statuses = statuses
        # Only ever replaced as a whole.
        self._found: Mapping[str, str] = {}
        self._serves: bool | None = None
        self._thread = Periodic("readiness", self._look, _LOOK_S)

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong now, such as "disk: 3 MiB would be left"."""
        return tuple(f"{name}: {fault}" for name, fault in self._found.items())

    @property
    def wrong(self) -> Mapping[str, bool]:
        """Of each cause, by name, whether something is wrong with it now."""
        found = self._found
        return {cause.name: cause.name in found for cause in self._causes}

    @property
    def serves(self) -> bool:
        """Whether the server can serve now."""
        return bool(self._serves)

    def start(self) -> None:
        """Look at all causes, and then again and again."""
        self._look()
        self._thread.start()

    def look(self, *_: object) -> None:
        """Look again soon, because something may have changed; does not wait."""
        self._thread.wake()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._thread.stop()

    def _look(self) -> None:
        found = {cause.name: fault for cause in self._causes if (fault := _fault(cause))}
        before, self._found = self._found, found
        # Logged before it is seen in health: who sees a change there finds its line.
        for cause in self._causes:
            self._log(cause, before.get(cause.name, ""), found.get(cause.name, ""))
            self._statuses.set_serving([f"{self._service}/{cause.name}"], cause.name not in found)
        serves = not any(cause.blocks and cause.name in found for cause in self._causes)
        if serves and not self._serves:
            log.info("%s: ready", self._name)
        self._serves = serves
        self._statuses.set_serving([self._service], serves)
        said = "; ".join(self.faults)
        notify.tell(STATUS=("serves. " if serves else "does not serve. ") + said, WATCHDOG="1")

    def _log(self, cause: Cause, before: str, now: str) -> None:
        # Numbers in a text may change with every look; whether it is well does not.
        if now and not before:
            effect = "not ready" if cause.blocks else "serves, but"
            log.warning("%s: %s: %s: %s", self._name, effect, cause.name, now)
        elif before and not now:
            log.info("%s: %s: is well again", self._name, cause.name)


def _fault(cause: Cause) -> str:
    try:
        return cause.fault()
    except OSError as error:
        return f"cannot be looked at ({error.strerror})"
