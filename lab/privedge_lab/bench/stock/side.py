"""A group of CrypTen processes as one engine of the bench."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from privedge.arrays import Inputs
from privedge.errors import ConfigError
from privedge.ran import features
from privedge.ran.spec import RanSpec
from privedge.user.checkpoint import Ran
from privedge_lab.bench.processes import Processes
from privedge_lab.bench.rows import PartyCost, Sample
from privedge_lab.bench.stock import files
from privedge_lab.bench.stock.group import Account, Group
from privedge_lab.bench.stock.network import unsupported

# Owners in a loop; all owners in grouped operations; grouped, with CrypTen's tuple cache prefilled.
ENGINES = ("stock", "stock-grouped", "stock-cached")


class Stock:
    """Answer queries by number, as its Group does."""

    def __init__(self, group: Group, owners: Sequence[str]) -> None:
        names = ("party0 worker 0", "party1 worker 0", "dealer")
        self._processes = Processes(dict(zip(names, group.pids, strict=True)))
        self._group = group
        self._owners = owners
        self._before = self._processes.cpu_s()

    def ask(self, number: int) -> Sample:
        """Ask query `number`. Raises Unreachable or DeadlineExceeded."""
        first, second = self._group.ask(number)
        cpu_s = self._spent()
        # CrypTen counts bytes sent and received together. Party 1 talks only to party 0. What
        # party 0 counts in addition went to or came from the dealer.
        between = second.bytes // 2
        return Sample(
            owners=[self._owners[at] if at >= 0 else None for at in first.owners],
            rounds=second.rounds,
            parties=(
                _party(first, between, first.bytes - second.bytes),
                _party(second, between, 0),
            ),
            cpu_s=cpu_s,
            offline_s=max(first.offline_s, second.offline_s),
            offline_cpu_s=sum(cpu_s.values()) - first.online_cpu_s - second.online_cpu_s,
        )

    def _spent(self) -> Mapping[str, float]:
        before, self._before = self._before, self._processes.cpu_s()
        return {kind: now - before[kind] for kind, now in self._before.items()}


def check(engine: str, spec: RanSpec) -> None:
    """Raise ConfigError for a preset with a layer that network.py lacks."""
    if missing := unsupported(spec):
        raise ConfigError(
            f"engine {engine}: preset {spec.name}: {missing} is not implemented for it"
        )


@contextmanager
def running(
    engine: str, models: Sequence[Ran], batches: Sequence[Inputs], timeout_s: float
) -> Iterator[Stock]:
    """Run a group with `models` in it, to be asked about `batches`."""
    spec = models[0].spec
    queries = np.stack([features.extract(spec, batch) for batch in batches])
    with tempfile.TemporaryDirectory(prefix="privedge-bench-") as folder:
        files.write(Path(folder), spec, [model.parameters for model in models], queries)
        with Group(engine, Path(folder), timeout_s=timeout_s) as group:
            yield Stock(group, [model.owner for model in models])


def _party(account: Account, between: int, from_dealer: int) -> PartyCost:
    return PartyCost(
        queue_s=0.0,
        load_s=0.0,
        online_s=account.online_s,
        bytes_to_peer=between,
        bytes_from_dealer=from_dealer,
    )
