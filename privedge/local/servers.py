"""The servers of one folder, during a command and after it.

The servers that a command starts end with it, even if it is killed, unless the command keeps them.
Sees process ids and addresses only.
"""

import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

from privedge.errors import Unreachable
from privedge.identity.roles import Role
from privedge.local import lifeline, processes
from privedge.local.deployment import SERVERS, Deployment
from privedge.progress import Progress

_LOOK_S = 0.5


class Servers:
    """Starts, watches and stops the servers of one folder. Use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._deployment: Deployment | None = None
        self._lifeline: subprocess.Popen[bytes] | None = None
        # Kept, because Python warns if the object of a running process is dropped.
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Servers":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.kept:
            self.stop()
            self.keep()  # releases the lifeline, which has nothing left to stop

    @property
    def running(self) -> tuple[Role, ...]:
        """The servers whose process runs."""
        return tuple(server for server in SERVERS if self._runs(server))

    @property
    def kept(self) -> bool:
        """Whether the servers outlive this command, which keeps them or has not started any."""
        return self._lifeline is None

    def start(self, deployment: Deployment, which: Sequence[Role]) -> None:
        """Start `which`, without waiting. From now on all servers end with this command.

        Raises ConfigError if one of them runs already.
        """
        if which and self._lifeline is None:
            self._lifeline = lifeline.start(self._folder)
        for server in which:
            command, log = deployment.command(server), deployment.log_file(server)
            self._children.append(processes.start(command, self._folder, server.value, log))

    def wait_ready(self, deployment: Deployment, progress: Progress) -> None:
        """Wait until all servers report that they serve. Raises Unreachable."""
        self._deployment = deployment
        wanted = deployment.servers
        for count, server in enumerate(wanted):
            progress("start servers", count, len(wanted))
            deployment.wait_ready(server, partial(self._runs, server))
        progress("start servers", len(wanted), len(wanted))

    def keep(self) -> None:
        """Let the running servers outlive this command."""
        if self._lifeline is not None:
            lifeline.release(self._lifeline, lifeline.KEEP)
            self._lifeline = None

    def watch(self) -> None:
        """Wait for ever. Raises Unreachable when a server has ended."""
        while self._deployment is not None:
            for server in self._deployment.servers:
                if not self._runs(server):
                    words = self._deployment.last_words(server)
                    raise Unreachable(f"{server.label} ended: {words}")
            time.sleep(_LOOK_S)

    def stop(self) -> None:
        """End all running servers, also those of an earlier command, and wait for their end."""
        processes.stop_servers(self._folder)

    def _runs(self, server: Role) -> bool:
        return processes.pid_of(self._folder, server.value) is not None
