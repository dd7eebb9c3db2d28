"""Find processes that a command started in a new session and has not stopped."""

import os
import subprocess

import psutil


def running_in_session_of(process: subprocess.Popen[str]) -> list[int]:
    """Pids of what still runs there; the dead that nobody has collected do not count."""
    return [pid for pid in psutil.pids() if in_session(pid, process.pid)]


def until_running(process: subprocess.Popen[str], at_least: int) -> None:
    """Ask the operating system until there are so many."""
    while len(running_in_session_of(process)) < at_least:
        assert process.poll() is None


def in_session(pid: int, session: int) -> bool:
    try:
        return os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
