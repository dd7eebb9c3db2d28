"""`python -m privedge_lab.bench.stock ENGINE RANK FOLDER`: ranks 0 and 1 compute, rank 2 deals.

group.py starts it, and sets the environment that CrypTen's communicator reads.
"""

import sys
from pathlib import Path

import torch

from privedge_lab.bench.stock import party, published

_DEALER = 2


def main(engine: str, rank: int, folder: Path) -> None:
    """Run one process until standard input or CrypTen ends it."""
    torch.set_num_threads(1)
    published.cfg.mpc.provider = "TTP"
    published.cfg.communicator.verbose = True
    if rank == _DEALER:
        published.TTPServer()
        return
    published.crypten.init()
    party.serve(engine, folder, iter(sys.stdin.readline, ""))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
