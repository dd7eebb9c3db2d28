"""Start and ask SPU's two processes of one protocol."""

import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privedge.errors import Unreachable
from privedge_lab.bench.children import Children

# CHEETAH has no dealer; of SEMI2K party 0 is the dealer, who could read everything.
PROTOCOLS = ("cheetah", "semi2k")

_START_S = 600.0
_PARTIES = ("party0", "party1")
_PARTY = Path(__file__).with_name("party.py")


@dataclass(frozen=True)
class Account:
    """One process's report of one query.

    distances: the mean squared errors d of the image, one for each owner.
    seconds: of SPU's run, from shares to shares.
    bytes: sent to the other process meanwhile.
    """

    distances: list[float]
    seconds: float
    bytes: int

    @staticmethod
    def read(said: Any) -> "Account":
        """From a line of party.py, about one image. Raises ValueError for anything else."""
        try:
            (distances,) = said["d"]
            return Account(
                [float(d) for d in distances], float(said["seconds"]), int(said["bytes"])
            )
        except (KeyError, TypeError, ValueError):
            raise ValueError("is no account of a query") from None


class Group:
    """Both processes. Use as a context manager."""

    def __init__(self, protocol: str, python: Path, folder: Path, *, timeout_s: float) -> None:
        """`folder` is as stock/files.py writes it; logs are written there, too."""
        self._protocol = protocol
        self._python = python
        self._folder = folder.resolve()
        self._timeout_s = timeout_s
        self._what = f"spu-{protocol}: a process of SPU"
        self._children = Children(self._what, self._folder)
        self._running = ExitStack()

    def __enter__(self) -> "Group":
        with ExitStack() as stack:
            stack.enter_context(self._children)
            hosts = [f"127.0.0.1:{port}" for port in _free_ports(len(_PARTIES))]
            for rank, name in enumerate(_PARTIES):
                command = [
                    *(str(self._python), str(_PARTY), self._protocol.upper(), str(rank)),
                    *(str(self._folder), *hosts),
                ]
                self._children.start(name, command, {"OMP_NUM_THREADS": "1"})
            self._children.hear(_PARTIES, _START_S)
            self._running = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def ask(self, number: int) -> tuple[Account, Account]:
        """Ask query `number`; return both accounts. Raises Unreachable or DeadlineExceeded."""
        self._children.tell(_PARTIES, number)
        said = self._children.hear(_PARTIES, self._timeout_s)
        try:
            first, second = map(Account.read, said)
        except ValueError as error:
            raise Unreachable(f"{self._what}: what it said {error}") from None
        return first, second


def _free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
