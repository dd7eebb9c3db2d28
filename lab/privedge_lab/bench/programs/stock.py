"""`python -m privedge_lab.bench.programs.stock RANK`: CrypTen as published, rank 2 deals.

A line on standard input has the number of a program and how often to run it; the answer is a line
with the median of its seconds.
"""

import json
import statistics
import sys
import time

import torch

from privedge_lab.bench.programs.written import PROGRAMS
from privedge_lab.bench.stock import published

_DEALER = 2


def main(rank: int) -> None:
    """Run one process until standard input or CrypTen ends it."""
    torch.set_num_threads(1)
    published.cfg.mpc.provider = "TTP"
    if rank == _DEALER:
        published.TTPServer()
        return
    published.crypten.init()
    _say(0.0)
    with published.crypten.no_grad():
        for line in iter(sys.stdin.readline, ""):
            number, times = json.loads(line)
            # Once more, to warm up.
            seconds = [_timed(number) for _ in range(times + 1)]
            _say(statistics.median(seconds[1:]))


def _timed(number: int) -> float:
    run, _ = PROGRAMS[number].make(published.crypten)
    published.communicator().barrier()
    since = time.perf_counter()
    run()
    return time.perf_counter() - since


def _say(seconds: float) -> None:
    sys.stdout.write(json.dumps(seconds) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
