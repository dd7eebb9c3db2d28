"""Start processes that may outlive their command, and find them again by one file each.

The file holds the process id, and is locked as long as the process lives. The process inherits the
lock with the open file; its children do not. The kernel releases the lock when the process ends,
however it ends. So a stale file does no harm, and the id of a process that has ended is never taken
for another process with the same id.
"""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from privedge.errors import ConfigError, Unreachable
from privedge.identity.roles import Role

# Party 0 comes first: it leads, and would keep calling the others.
_SERVERS = (Role.PARTY0, Role.PARTY1, Role.DEALER)
_COMMAND = "up"

_STOP_S = 20.0
# The command itself stops the servers, one after the other.
_COMMAND_STOP_S = 70.0
_KILLED_S = 10.0
_PAUSE_S = 0.05
# A process that only checks the lock also holds it for a moment.
_LOCK_S = 2.0
# The longest time between locking the file and writing the id, on a busy machine.
_NAMED_S = 30.0
# The process itself writes its id, so it can be found even if its parent ends at once.
_INTRODUCED = 'echo $$ && exec "$@" >>"$0" 2>&1'


def pid_file(folder: Path, name: str) -> Path:
    """Return the file for the id of the process `name` in `folder`."""
    return folder / "run" / f"{name}.pid"


def start(command: Sequence[str], folder: Path, name: str, log: Path) -> subprocess.Popen[bytes]:
    """Start `command` in a new session, so that no Ctrl-C reaches it. Its output goes to `log`.

    Raises ConfigError if a process called `name` still runs.
    """
    with _locked(pid_file(folder, name), f"{name} runs already; stop it first") as lock:
        return subprocess.Popen(
            ["/bin/sh", "-c", _INTRODUCED, str(log), *command],
            stdin=subprocess.DEVNULL,
            stdout=lock,
            stderr=subprocess.DEVNULL,
            pass_fds=(lock.fileno(),),
            start_new_session=True,
        )


@contextmanager
def this_command(folder: Path) -> Iterator[None]:
    """Register this process as the command at work in `folder`, during the block.

    Raises ConfigError if another one is registered.
    """
    busy = f"{folder}: another `privedge up` is running there; end it with --stop"
    with _locked(pid_file(folder, _COMMAND), busy) as lock:
        lock.write(f"{os.getpid()}\n".encode())
        lock.flush()
        yield


def pid_of(folder: Path, name: str) -> int | None:
    """Return the id of the process `name`, or None if it does not run."""
    path = pid_file(folder, name)
    until = time.monotonic() + _NAMED_S
    while _is_locked(path):
        text = path.read_text(encoding="ascii", errors="replace")
        if text.endswith("\n") and text.strip().isdecimal():
            return int(text)
        if time.monotonic() > until:  # nothing but an id is ever written there
            raise ConfigError(f"{path}: is locked but names no process; end it by hand")
        time.sleep(_PAUSE_S)
    return None


def stop(folder: Path, name: str, within_s: float = _STOP_S) -> bool:
    """End the process `name`, and kill it if it does not end in time. Returns whether it ran.

    Raises Unreachable if the process cannot be ended.
    """
    pid = _settled(folder, name)
    if pid is None:
        return False
    for number, patience_s in ((signal.SIGTERM, within_s), (signal.SIGKILL, _KILLED_S)):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        if _ended(pid_file(folder, name), patience_s):
            return True
    raise Unreachable(f"process {pid} ({name}) does not end; end it by hand")


def stop_servers(folder: Path) -> list[str]:
    """End all servers of `folder`, party 0 first. Returns the names of those that ran."""
    return [str(server) for server in _SERVERS if stop(folder, server)]


def stop_command(folder: Path) -> bool:
    """End the command at work in `folder`, which then stops its servers. Returns whether it ran."""
    return stop(folder, _COMMAND, _COMMAND_STOP_S)


def _settled(folder: Path, name: str) -> int | None:
    """Return the id once it is read twice.

    Just after the lock is acquired, the file may still hold the previous process's id.
    """
    pid = pid_of(folder, name)
    while pid is not None:
        time.sleep(_PAUSE_S)
        before, pid = pid, pid_of(folder, name)
        if pid == before:
            break
    return pid


@contextmanager
def _locked(path: Path, busy: str) -> Iterator[BinaryIO]:
    """Open the file, lock it and empty it. Processes that inherit the file keep the lock.

    Raises ConfigError with the text `busy` if another process holds the lock.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0) as lock:
        until = time.monotonic() + _LOCK_S
        while not _taken(lock):
            if time.monotonic() > until:
                raise ConfigError(busy)
            time.sleep(_PAUSE_S)
        lock.truncate(0)
        yield lock


def _taken(lock: BinaryIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_locked(path: Path) -> bool:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _ended(path: Path, within_s: float) -> bool:
    until = time.monotonic() + within_s
    while _is_locked(path):
        if time.monotonic() > until:
            return False
        time.sleep(_PAUSE_S)
    return True
