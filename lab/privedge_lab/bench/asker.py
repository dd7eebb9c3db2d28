"""One client of `bench throughput`: `python -m privedge_lab.bench.asker CONFIG IMAGES FIRST`.

It is a separate process, since threads would share one interpreter. It asks once and reports that
it is ready. Then it is told when the measured time starts and ends (the machine's monotonic clock).
It asks without a pause until the end, and reports its answers. The images are synthetic.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from privedge.client.query import Client
from privedge.errors import Unreachable
from privedge_lab.bench.system import COHORT

_CONNECT_S = 30.0


def main(config: Path, images: Path, first: int) -> None:
    """Ask about a file's images, uint8 (n, H, W), one by one from number `first`, in a cycle."""
    pictures = np.load(images)
    with Client.from_file(config) as client:
        _connect(client, pictures[:1])
        _say({"ready": True})
        starts, ends = json.loads(sys.stdin.readline())
        _say(_ask_until(client, pictures, first, (starts, ends)))


def _connect(client: Client, picture: Any) -> None:
    """Ask the first question. With many clients, handshakes may be too slow for a first attempt."""
    ends = time.monotonic() + _CONNECT_S
    while True:
        try:
            client.identify(picture, COHORT)
            return
        except Unreachable:
            if time.monotonic() > ends:
                raise


def _ask_until(
    client: Client, pictures: Any, first: int, window: tuple[float, float]
) -> dict[str, Any]:
    """Return (picture, seconds, owner) of queries that ended within `window`, and CPU seconds."""
    starts, ends = window
    asked: list[tuple[int, float, str | None]] = []
    number, cpu_s = first, time.process_time()
    while (began := time.monotonic()) < ends:
        if began < starts:
            cpu_s = time.process_time()
        picture = number % len(pictures)
        reply = client.identify(pictures[picture : picture + 1], COHORT)
        if starts <= time.monotonic() <= ends:
            asked.append((picture, time.monotonic() - began, reply.answers[0].owner))
        number += 1
    return {"asked": asked, "cpu_s": time.process_time() - cpu_s}


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
