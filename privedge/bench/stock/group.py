"""Start and ask a group of CrypTen processes. Everything waits with a limit, and ends with it.

CrypTen's own launcher hangs when one of its processes fails; here whoever is silent too long or
ends is reported in one line, and all three are killed.
"""

import json
import os
import select
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privedge.errors import OutOfTime, Unreachable

_START_S = 120.0
_RANKS = ("party0", "party1", "dealer")


@dataclass(frozen=True)
class Account:
    """What one computing process says of one query.

    `owners`: the label of each image, an index, -1 if none was named; `rounds` and `bytes` are
    the counters of CrypTen's communicator, sent and received together.
    """

    owners: list[int]
    online_s: float
    online_cpu_s: float
    offline_s: float
    rounds: int
    bytes: int


class Group:
    """Two computing processes and the one that deals. Use as a context manager."""

    def __init__(self, engine: str, folder: Path, *, timeout_s: float) -> None:
        """`folder` is as files.py writes it; logs and the meeting point go there, too."""
        self._engine = engine
        self._folder = folder.resolve()
        self._timeout_s = timeout_s
        self._running = ExitStack()
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Group":
        try:
            for rank in range(len(_RANKS)):
                self._processes.append(self._start(rank))
            self._heard(_START_S)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill all three: nothing of theirs is kept."""
        for process in self._processes:
            process.kill()
        self._running.close()

    @property
    def pids(self) -> list[int]:
        """Process ids: party 0, party 1, dealer."""
        return [process.pid for process in self._processes]

    def ask(self, number: int) -> tuple[Account, Account]:
        """Both parties' accounts of query `number`. Raises Unreachable or OutOfTime."""
        for process in self._processes[:2]:
            assert process.stdin is not None  # noqa: S101  # it was started with a pipe
            process.stdin.write(f"{number}\n".encode())
        first, second = self._heard(self._timeout_s)
        return Account(**first), Account(**second)

    def _start(self, rank: int) -> subprocess.Popen[bytes]:
        place = {
            "DISTRIBUTED_BACKEND": "gloo",
            "RENDEZVOUS": f"file://{self._folder / 'meeting-point'}",
            "WORLD_SIZE": "2",
            "RANK": str(rank),
            "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "privedge.bench.stock", self._engine, str(rank)]
        log = self._running.enter_context(self._log(rank).open("wb"))
        return self._running.enter_context(
            subprocess.Popen(
                [*command, str(self._folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **place},
                bufsize=0,
            )
        )

    def _heard(self, within_s: float) -> list[dict[str, Any]]:
        """One line of each computing process."""
        ends = time.monotonic() + within_s
        said = {process.stdout: b"" for process in self._processes[:2] if process.stdout}
        while waiting := [pipe for pipe, text in said.items() if not text.endswith(b"\n")]:
            ready, _, _ = select.select(waiting, [], [], max(0.0, ends - time.monotonic()))
            if not ready:
                raise OutOfTime(f"{self._engine}: CrypTen said nothing for {within_s:.0f} seconds")
            for pipe in ready:
                part = pipe.read(1 << 16)
                if not part:
                    raise Unreachable(f"{self._engine}: a CrypTen process ended: {self._why()}")
                said[pipe] += part
        return [json.loads(text) for text in said.values()]

    def _log(self, rank: int) -> Path:
        return self._folder / f"{_RANKS[rank]}.log"

    def _why(self) -> str:
        """The last line of a process that ended, the first to be found."""
        for rank in range(len(_RANKS)):
            lines = self._log(rank).read_text(encoding="utf-8", errors="replace").split("\n")
            if said := [line for line in lines if line.strip()]:
                return said[-1].strip()
        return "without a word"
