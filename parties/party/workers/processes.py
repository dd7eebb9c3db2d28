"""The MPC workers of a front end: child processes, replaced when they die or fall silent.

A worker that dies ends its one session and nothing else. Front end and worker speak gRPC over a
Unix socket in a folder that only this user can enter. Besides:

    its standard input    a line tells it to serve; the end tells it to end
    its standard output   a byte every second says that it serves

A process that has loaded everything and waits for that line is a spare.
"""

import logging
import os
import selectors
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from parties.config.party import PartyConfig
from parties.party.edge.worker_client import WorkerClient
from parties.serving import handshake_log
from privedge.identity.roles import Identity, Role
from privedge.rpc.channel import open_channel

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
_STOP_S = 5.0
# Loading and compiling everything, on a slow machine.
_START_S = 120.0
# The longest silence that is counted in one piece.
_COUNTED_S = 0.5

_Process = subprocess.Popen[bytes]


class WorkerProcess:
    """One slot: the process that serves it now, and the `client` that reaches it."""

    def __init__(
        self,
        config: PartyConfig,
        config_file: Path,
        slot: int,
        folder: Path,
        cores: Sequence[int],
        *,
        changed: Callable[[], object],
    ) -> None:
        """`changed` is called whenever `serves` has changed."""
        self.slot = slot
        # Whether a process serves the slot now, and whether one ever has.
        self.serves = self.begun = False
        # How many processes took the place of another, and when one gave its last sign of life, in
        # seconds of time.monotonic.
        self.restarts, self._last_sign = 0, time.monotonic()
        self._name = f"worker {slot}"
        self._silent_s = config.timeouts.worker_silent_s
        self._changed = changed
        socket = folder / f"worker-{slot}"
        self._command = [
            *(sys.executable, "-m", "parties", "worker", "--config", str(config_file.resolve())),
            *("--slot", str(slot), "--socket", str(socket)),
            *(("--cores", *map(str, cores)) if cores else ()),
        ]
        role = Role.party(config.index)
        self._channel = open_channel(
            f"unix:{socket}", server=role, tls=None, claim=Identity(role, role.value)
        )
        self.client = WorkerClient(self._channel, self._name)
        # Of what follows: `stop` must find every process that was started.
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._with_spare = config.spare_workers
        self._spare: _Process | None = None
        self._process = self._spawned()
        _let_serve(self._process)
        threading.Thread(target=self._watch, name=self._name, daemon=True).start()

    @property
    def pid(self) -> int:
        """The process that serves the slot now."""
        return self._process.pid

    @property
    def silent_s(self) -> float:
        """Seconds since the last sign of life, or since the start if there was none."""
        return time.monotonic() - self._last_sign

    def stop(self) -> None:
        """End the processes and wait for them."""
        with self._lock:
            self._stopping.set()
            process, spare = self._process, self._spare
        if spare is not None:
            spare.kill()
            spare.wait()
        if not self.serves:  # it would look at its input once it has loaded everything
            process.kill()
        _close(process.stdin)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._channel.close()

    def _spawned(self) -> _Process:
        stderr = handshake_log.standard_error()
        return subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
        )

    def _watch(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            served = self._followed()
            self._now(serves=False)
            status = self._process.wait()
            pause_s = _FIRST_PAUSE_S if served else min(2 * pause_s, _LONGEST_PAUSE_S)
            if self._stopping.wait(0 if self._spare else pause_s):
                return
            log.warning("%s ended with status %d; starting another", self._name, status)
            _close(self._process.stdin)
            _close(self._process.stdout)
            with self._lock:
                if self._stopping.is_set():
                    return
                self._process, self._spare = self._spare or self._spawned(), None
                self.restarts += 1
            _let_serve(self._process)

    def _followed(self) -> bool:
        """Wait until the process has ended, or kill it for its silence; whether it ever served."""
        served, allowed_s = False, _START_S
        process = self._process
        assert process.stdout is not None  # noqa: S101 - PIPE
        while await_sign(process.stdout, allowed_s):
            if not os.read(process.stdout.fileno(), 1 << 12):
                return served
            self._last_sign = time.monotonic()
            if not served:
                served, allowed_s = True, self._silent_s
                self._now(serves=True)
                self._make_spare()
        log.warning("%s has been silent for %g s; killing it", self._name, allowed_s)
        process.kill()
        return served

    def _make_spare(self) -> None:
        with self._lock:
            if self._with_spare and not self._stopping.is_set():
                self._spare = self._spawned()

    def _now(self, *, serves: bool) -> None:
        self.serves = serves
        self.begun = self.begun or serves
        self._changed()


class WorkerPool:
    """All workers of one front end. Use as a context manager."""

    def __init__(
        self, config: PartyConfig, config_file: Path, cores: Sequence[Sequence[int]]
    ) -> None:
        """`cores`: for each worker those that it keeps to; none leaves it to the system."""
        self._folder = tempfile.TemporaryDirectory(prefix="privedge-")
        # Called whenever `fault` may have changed.
        self.changed: Callable[[], object] = lambda: None
        folder = Path(self._folder.name)
        self.workers = [
            WorkerProcess(config, config_file, slot, folder, taken, changed=lambda: self.changed())
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

    def begun(self) -> bool:
        """Whether every worker has served once."""
        return all(worker.begun for worker in self.workers)

    def fault(self) -> str:
        """Which workers do not serve now; empty if all do."""
        missing = [str(worker.slot) for worker in self.workers if not worker.serves]
        return f"worker {', '.join(missing)} of {len(self.workers)} is starting" if missing else ""


def await_sign(pipe: IO[bytes], allowed_s: float) -> bool:
    """Wait until `pipe` can be read; False if it stays silent for `allowed_s` seconds.

    Only seconds in which this process ran count. One that was frozen itself, or starved, would take
    the worker for silent as soon as it runs again, although the signs of life lie in the pipe.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while allowed_s > 0:
            wait_s = min(_COUNTED_S, allowed_s)
            if selector.select(wait_s):
                return True
            allowed_s -= wait_s
    return False


def _let_serve(process: _Process) -> None:
    assert process.stdin is not None  # noqa: S101 - PIPE
    with suppress(OSError):  # it has ended, which is noticed when its output ends
        process.stdin.write(b"serve\n")
        process.stdin.flush()


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        with suppress(OSError):
            pipe.close()
