"""One computing process of CrypTen: share models and images, then answer queries.

A line on standard input names a query by its number, and is answered with one line of JSON. The
bench put synthetic models and images into a folder that either process can read, so nothing here is
private.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from privedge_lab.bench.stock import files, published
from privedge_lab.bench.stock.network import Cohort, Shared


class Party:
    """One rank. `engine` is stock, stock-grouped or stock-cached."""

    def __init__(self, engine: str, folder: Path) -> None:
        """Share the models. CrypTen must be initialised."""
        self._cached = engine == "stock-cached"
        spec, parameters, self._queries = files.read(folder)
        shared = {name: _shared(values) for name, values in parameters.items()}
        owners = next(iter(shared.values())).size(0)
        if engine == "stock":
            self._cohorts = [Cohort(spec, _only(shared, owner)) for owner in range(owners)]
        else:
            self._cohorts = [Cohort(spec, shared)]
        self._traced = False

    def answer(self, number: int) -> dict[str, Any]:
        """Label a batch: owners by index (-1 if the opened row names nobody), seconds, counters."""
        x = _shared(self._queries[number])
        offline_s = self._prepare()
        said = published.communicator()
        said.barrier()
        said.reset_communication_stats()
        cpu, started = time.process_time(), time.perf_counter()
        distances = published.crypten.cat([each.distances(x) for each in self._cohorts], dim=1)
        rows = distances.argmin(dim=1, one_hot=True).get_plain_text()
        online_s, online_cpu_s = time.perf_counter() - started, time.process_time() - cpu
        self._trace_ends()
        return {
            "owners": [_named(row) for row in rows.tolist()],
            "online_s": online_s,
            "online_cpu_s": online_cpu_s,
            "offline_s": offline_s,
            "rounds": int(said.comm_rounds),
            "bytes": int(said.comm_bytes),
        }

    def _prepare(self) -> float:
        """Fill CrypTen's cache with the tuples of the traced query; return the seconds needed."""
        if not self._cached:
            return 0.0
        started = time.perf_counter()
        provider = published.provider()
        if self._traced:
            provider.fill_cache()
        else:
            provider.trace(True)
        return time.perf_counter() - started

    def _trace_ends(self) -> None:
        published.provider().trace(False)
        self._traced = True


def serve(engine: str, folder: Path, numbers: Iterator[str]) -> None:
    """Report readiness, then answer each line of `numbers`."""
    with published.crypten.no_grad():
        party = Party(engine, folder)
        _say({"ready": True})
        for number in numbers:
            _say(party.answer(json.loads(number)))


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _shared(values: Any) -> Shared:
    return published.crypten.cryptensor(torch.from_numpy(np.ascontiguousarray(values)), src=0)


def _only(shared: dict[str, Shared], owner: int) -> dict[str, Shared]:
    return {name: value[owner : owner + 1] for name, value in shared.items()}


def _named(row: list[float]) -> int:
    """Return the one position that is 1, or -1: CrypTen's truncation can spoil a row."""
    return row.index(1.0) if sorted(row) == [0.0] * (len(row) - 1) + [1.0] else -1
