"""Each program in turn: on our backend, and on CrypTen with its own server that deals (TTP)."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from privedge_lab.bench.children import Children, module
from privedge_lab.bench.programs import ours, served
from privedge_lab.bench.programs.written import LENET, PROGRAMS, Program

_START_S = 600.0
_LIMIT_S = 600.0
_PARTIES = ("party0", "party1")
_MODULE = "privedge_lab.bench.programs.stock"


def measure(times: int) -> Iterator[dict[str, Any]]:
    """For each program its name, seconds of both, their ratio, and what ours costs and errs by;
    then the same for LeNet as servers answer it.
    """
    with _published() as children:
        for written in PROGRAMS:
            mine = ours.measure(written, times, _LIMIT_S)
            yield _row(written.name, mine, _stock_s(children, written, times))
        mine = served.measure(LENET.clear(), times)
        yield _row(served.NAME, mine, _stock_s(children, LENET, times))


def _stock_s(children: Children, written: Program, times: int) -> float:
    """The median of its seconds on CrypTen as published."""
    children.tell(_PARTIES, [PROGRAMS.index(written), times])
    seconds, _ = children.hear(_PARTIES, _LIMIT_S)
    return float(seconds)


def _row(name: str, mine: ours.Measured, stock_s: float) -> dict[str, Any]:
    return {
        "name": name,
        "ours_s": round(mine.seconds, 5),
        "stock_s": round(stock_s, 5),
        "ratio": round(stock_s / mine.seconds, 1),
        "rounds": mine.rounds,
        "bytes": mine.bytes_to_peer,
        "max_error": mine.max_error,
    }


@contextmanager
def _published() -> Iterator[Children]:
    """Two computing processes and the dealer of CrypTen's, ready."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with Children("a CrypTen process", folder) as children:
            for rank, name in enumerate((*_PARTIES, "dealer")):
                children.start(name, module(_MODULE, str(rank)), _place(folder, rank))
            children.hear(_PARTIES, _START_S)
            yield children


def _place(folder: Path, rank: int) -> dict[str, str]:
    """The environment that CrypTen's communicator reads."""
    return {
        "DISTRIBUTED_BACKEND": "gloo",
        "RENDEZVOUS": f"file://{folder / 'meeting-point'}",
        "WORLD_SIZE": str(len(_PARTIES)),
        "RANK": str(rank),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
    }
