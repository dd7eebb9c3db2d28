"""Start processes for the bench and talk to them, one line of JSON at a time, with a time limit.

If a process is silent too long or ends, one line reports it with its last output. Leaving the
context kills all processes.
"""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from privedge.errors import DeadlineExceeded, Unreachable


def module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours in this interpreter."""
    return [sys.executable, "-m", name, *arguments]


class Children:
    """Running processes. Use as a context manager."""

    def __init__(self, what: str, folder: Path) -> None:
        """`what` names these processes in errors; logs go to `folder`."""
        self._what = what
        self._folder = folder
        self._running = ExitStack()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
        self._running.close()

    @property
    def pids(self) -> Mapping[str, int]:
        """Return the process ids by name."""
        return {name: process.pid for name, process in self._processes.items()}

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Start `command` with `env` on top of this process's environment. Raises Unreachable."""
        log = self._running.enter_context(self._log(name).open("wb"))
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **env},
                bufsize=0,
            )
        except OSError as error:
            raise Unreachable(f"{self._what} cannot be started: {error.strerror}") from None
        self._processes[name] = self._running.enter_context(process)

    def tell(self, names: Sequence[str], line: object) -> None:
        """Send `line` as JSON to each process of `names`."""
        for name in names:
            pipe = self._processes[name].stdin
            # `hear` notices a process that ended, and its reason.
            with suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.write(f"{json.dumps(line)}\n".encode())

    def hear(self, names: Sequence[str], within_s: float) -> list[Any]:
        """Read a line of each process. Raises DeadlineExceeded, or Unreachable if one has ended or
        said what is no JSON.
        """
        ends = time.monotonic() + within_s
        pipes = [self._processes[name].stdout for name in names]
        said = {pipe: b"" for pipe in pipes if pipe is not None}
        while waiting := [pipe for pipe, text in said.items() if not text.endswith(b"\n")]:
            ready, _, _ = select.select(waiting, [], [], max(0.0, ends - time.monotonic()))
            if not ready:
                raise DeadlineExceeded(f"{self._what} said nothing for {within_s:.0f} seconds")
            for pipe in ready:
                part = pipe.read(1 << 16)
                if not part:
                    raise Unreachable(f"{self._what} ended: {self._why()}")
                said[pipe] += part
        try:
            return [json.loads(text) for text in said.values()]
        except ValueError:
            raise Unreachable(f"{self._what} said what is no JSON") from None

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _why(self) -> str:
        """Return the last line in the first log that has one."""
        for name in self._processes:
            lines = self._log(name).read_text(encoding="utf-8", errors="replace").split("\n")
            if said := [line for line in lines if line.strip()]:
                return said[-1].strip()
        return "without a word"
