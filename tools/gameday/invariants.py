"""What must hold whatever was done: no wrong answer, nobody else dead, no secret in a log."""

import re
from collections.abc import Iterator

import psutil

from privedge.local.deployment import SERVERS
from tools.gameday.service import Service

# Owners' names, which are labels too; what might be a share, a mask or a key; and a bug.
FORBIDDEN = {
    "an owner's name": re.compile(r"digit-\d"),
    "what may be a secret": re.compile(r"[0-9a-fA-F]{65,}|[A-Za-z0-9+/=_-]{120,}|[\x00-\x08\x7f]"),
    "a traceback": re.compile(r"^Traceback", re.MULTILINE),
}


class Invariants:
    """How a service was before a fault."""

    def __init__(self, service: Service) -> None:
        """Note what runs, what the logs say and how many answers were wrong."""
        self._service = service
        service.hurt.clear()
        self._processes = service.processes()
        self._logs = {server: len(self._log(server)) for server in SERVERS}
        self._wrong = service.wrong

    @property
    def wrong(self) -> int:
        """How many answers have been wrong since."""
        return self._service.wrong - self._wrong

    def broken(self) -> Iterator[str]:
        """Say in words what does not hold now."""
        if self.wrong:
            yield f"{self.wrong} wrong answers"
        for pid, name in self._processes.items():
            if pid not in self._service.hurt and not _runs(pid):
                yield f"{name} died too"
        for server in SERVERS:
            said = self._log(server)[self._logs[server] :]
            for what, pattern in FORBIDDEN.items():
                if pattern.search(said):
                    yield f"the log of {server} has {what}"

    def _log(self, server: object) -> str:
        path = self._service.deployment.folder / "logs" / f"{server}.log"
        return path.read_bytes().decode(errors="replace")


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
