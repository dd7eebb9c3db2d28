"""Run `privedge` commands as on Windows or macOS: without what Python lacks there.

    python elsewhere.py Windows|Darwin < commands.json > answers.json

Reads a list of command lines, runs them one after the other in this process, and writes for each
its exit status and what it said. Whatever the system lacks is taken away before privedge is
imported. Not simulated: other compiled packages, permissions, and paths with a drive.
"""

import contextlib
import errno
import io
import json
import os
import platform
import shutil
import signal
import sys
from importlib.abc import MetaPathFinder

# What the Python documentation says is not available there.
_NOT_ON_MACOS = {"os": ("sched_getaffinity", "sched_setaffinity", "memfd_create", "O_TMPFILE")}
_NOT_ON_WINDOWS = {
    "os": (
        *("chown", "fchown", "lchown", "fchmod", "geteuid", "getuid", "getegid", "getgid", "uname"),
        *("O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "O_CLOEXEC", "O_TMPFILE", "EX_CONFIG"),
        *("fork", "forkpty", "killpg", "setsid", "mkfifo", "statvfs", "sync", "getgroups"),
        *("getpgid", "set_blocking", "register_at_fork", "sysconf", *_NOT_ON_MACOS["os"]),
    ),
    "signal": (
        *("SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "SIGPIPE", "SIGQUIT"),
        *("setitimer", "alarm", "pthread_sigmask", "sigwait", "pause"),
    ),
    "socket": ("AF_UNIX",),
}
_MODULES = {"Windows": ("fcntl", "resource", "pwd", "grp", "termios", "tty"), "Darwin": ()}
_NAMES = {"Windows": _NOT_ON_WINDOWS, "Darwin": _NOT_ON_MACOS}


class _Absent(MetaPathFinder):
    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def pretend(system: str) -> None:
    """Take away what `system` lacks. /proc is not there either, and Windows opens no folder."""
    # Packages that are built for Linux look for what Linux has. They differ elsewhere, not we.
    import socket
    import subprocess
    import tempfile

    import numpy
    import torch
    import typer

    assert all((subprocess, tempfile, numpy, torch, typer))

    modules = {"os": os, "signal": signal, "socket": socket}
    for module, names in _NAMES[system].items():
        for name in names:
            with contextlib.suppress(AttributeError):
                delattr(modules[module], name)
    for name in _MODULES[system]:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Absent(_MODULES[system]))
    platform.system = lambda: system
    if system == "Windows":
        shutil._use_fd_functions = False
    _forbid(folders=system == "Windows")


def _forbid(*, folders: bool) -> None:
    open_as_before = os.open

    def checked(path, flags, *args, **more):
        if str(path).startswith("/proc"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        if folders and os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return open_as_before(path, flags, *args, **more)

    os.open = checked


def answer(arguments: list[str]) -> dict[str, object]:
    """Run one command as its program does."""
    from privedge.cli.main import main

    sys.argv = ["privedge", *arguments]
    status: object = 0
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        try:
            main()
        except SystemExit as ending:
            status = ending.code or 0
    return {"status": status, "said": out.getvalue()}


if __name__ == "__main__":
    pretend(sys.argv[1])
    commands = json.load(sys.stdin)
    sys.stdout.write(json.dumps([answer(each) for each in commands]))
