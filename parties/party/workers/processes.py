"""The MPC workers of a front end: started as child processes, watched, restarted when they die.

A worker that dies ends its one session and nothing else. Front end and worker speak gRPC over a
Unix socket in a folder that only this user can enter.
"""

import logging
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from parties.party.edge.worker_client import WorkerClient
from parties.serving import handshake_log
from privedge.identity.roles import Identity, Role
from privedge.rpc.channel import open_channel, wait_connected
from privedge.rpc.deadline import Deadline

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
_STOP_S = 5.0


class WorkerProcess:
    """One slot: the process that serves it now, and the `client` that reaches it."""

    def __init__(
        self, config_file: Path, index: int, slot: int, folder: Path, cores: Sequence[int]
    ) -> None:
        self.slot = slot
        self._name = f"worker {slot}"
        self._socket = folder / f"worker-{slot}"
        self._command = [
            *(sys.executable, "-m", "parties", "worker", "--config", str(config_file.resolve())),
            *("--slot", str(slot), "--socket", str(self._socket)),
            *(("--cores", *map(str, cores)) if cores else ()),
        ]
        role = Role.party(index)
        self._channel = open_channel(
            f"unix:{self._socket}", server=role, tls=None, claim=Identity(role, role.value)
        )
        self.client = WorkerClient(self._channel, self._name)
        self._stopping = threading.Event()
        self._process = self._spawn()
        threading.Thread(target=self._watch, name=self._name, daemon=True).start()

    @property
    def pid(self) -> int:
        """The process that serves the slot now."""
        return self._process.pid

    def wait_ready(self, deadline: Deadline) -> None:
        """Return once the worker serves. Raises Unreachable."""
        wait_connected(self._channel, self._name, within_s=deadline.remaining())

    def stop(self) -> None:
        """End the process and wait for it."""
        self._stopping.set()
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._channel.close()

    def _spawn(self) -> subprocess.Popen[bytes]:
        stderr = handshake_log.standard_error()
        return subprocess.Popen(self._command, stdin=subprocess.PIPE, stderr=stderr)

    def _watch(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            status = self._process.wait()
            if self._stopping.wait(pause_s):
                return
            log.warning("%s ended with status %d; starting another", self._name, status)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            self._process = self._spawn()


class WorkerPool:
    """All workers of one front end. Use as a context manager."""

    def __init__(self, config_file: Path, index: int, cores: Sequence[Sequence[int]]) -> None:
        """`cores`: for each worker those that it keeps to; none leaves it to the system."""
        self._folder = tempfile.TemporaryDirectory(prefix="privedge-")
        folder = Path(self._folder.name)
        self.workers = [
            WorkerProcess(config_file, index, slot, folder, taken)
            for slot, taken in enumerate(cores)
        ]

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.stop()
        self._folder.cleanup()

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids, by slot."""
        return tuple(worker.pid for worker in self.workers)
