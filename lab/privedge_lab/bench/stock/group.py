"""Start and ask a group of CrypTen processes.

CrypTen's own launcher hangs if one of its processes fails; children.py does not.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from privedge_lab.bench.children import Children, module

_START_S = 120.0
_PARTIES = ("party0", "party1")
_RANKS = (*_PARTIES, "dealer")


@dataclass(frozen=True)
class Account:
    """One computing process's report of one query.

    `owners`: the label of each image, an index, or -1 if none was named. `rounds` and `bytes` are
    the counters of CrypTen's communicator, sent and received together.
    """

    owners: list[int]
    online_s: float
    online_cpu_s: float
    offline_s: float
    rounds: int
    bytes: int


class Group:
    """Two computing processes and the dealer. Use as a context manager."""

    def __init__(self, engine: str, folder: Path, *, timeout_s: float) -> None:
        """`folder` is as files.py writes it; logs and the meeting point are written there, too."""
        self._engine = engine
        self._folder = folder.resolve()
        self._timeout_s = timeout_s
        self._children = Children(f"{engine}: a CrypTen process", self._folder)
        self._running = ExitStack()

    def __enter__(self) -> "Group":
        with ExitStack() as stack:
            stack.enter_context(self._children)
            for rank, name in enumerate(_RANKS):
                arguments = self._engine, str(rank), str(self._folder)
                command = module("privedge_lab.bench.stock", *arguments)
                self._children.start(name, command, self._place(rank))
            self._children.hear(_PARTIES, _START_S)
            self._running = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @property
    def pids(self) -> list[int]:
        """Return the process ids of party 0, party 1 and the dealer."""
        return list(self._children.pids.values())

    def ask(self, number: int) -> tuple[Account, Account]:
        """Ask query `number`; return both accounts. Raises Unreachable or DeadlineExceeded."""
        self._children.tell(_PARTIES, number)
        first, second = self._children.hear(_PARTIES, self._timeout_s)
        return Account(**first), Account(**second)

    def _place(self, rank: int) -> dict[str, str]:
        """Return the environment that CrypTen's communicator reads."""
        return {
            "DISTRIBUTED_BACKEND": "gloo",
            "RENDEZVOUS": f"file://{self._folder / 'meeting-point'}",
            "WORLD_SIZE": str(len(_PARTIES)),
            "RANK": str(rank),
            "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": "1",
        }
