"""Measure a private query beside SPU's, on the same network, weights and images.

    1.  make N models and images, and their mean squared errors d in double precision
    2.  start every system with the same models
    3.  ask in turn: one cold query, two to warm up, then those that count
    4.  open d of the images that count, and compare

Nothing is prepared ahead: what a query consumes is made while it runs, so its seconds and bytes are
all that it takes. Ours do some work once for each model, in the cold query, which does not count;
SPU has no such work. Ours are whole deployments, seen from the client; SPU is two processes without
TLS, from shares to shares. Everything is made up.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from privedge.arrays import Features, Inputs
from privedge.errors import ConfigError
from privedge.progress import Progress
from privedge.ran import features
from privedge.user.checkpoint import Ran
from privedge_lab.bench import deployed, made, opened, rows, system
from privedge_lab.bench.opened import Distances
from privedge_lab.bench.spu.environment import environment
from privedge_lab.bench.spu.group import PROTOCOLS, Group
from privedge_lab.bench.stock import files
from privedge_lab.bench.stock.network import unsupported
from privedge_lab.results.rows.bench import PeerRow

_OURS = {f"privedge-{source}": source for source in reversed(system.RANDOMNESS)}
_SPU = {f"spu-{protocol}": protocol for protocol in PROTOCOLS}
SYSTEMS = (*_OURS, *_SPU)

_SEED = 1
_AHEAD = rows.COLD + rows.WARM_UP


@dataclass(frozen=True)
class Workload:
    """What each system is asked: `queries` images against `owners` models of a preset.

    environment: the folder of SPU's virtual environment (spu/environment.py), or None for one that
    is removed afterwards.
    """

    systems: tuple[str, ...]
    preset: str
    owners: int
    queries: int
    environment: Path | None = None


@dataclass(frozen=True)
class _Query:
    """What one query took; `distances` (N,) of its image, if the system says them."""

    seconds: float
    bytes: int
    distances: Sequence[float] | None = None


class _System(Protocol):
    def ask(self, number: int) -> _Query:
        """Ask query `number`."""


def check(load: Workload) -> None:
    """Raise ConfigError for what cannot be measured, before anything starts."""
    spec = system.spec_of(load.preset)
    for name in load.systems:
        if name not in SYSTEMS:
            raise ConfigError(f"system {name!r} is unknown; choose from {', '.join(SYSTEMS)}")
        if name in _SPU and (missing := unsupported(spec)):
            raise ConfigError(
                f"system {name}: preset {spec.name}: {missing} is not implemented for it"
            )


def measure(load: Workload, progress: Progress) -> list[PeerRow]:
    """Measure one row for each system. Raises ConfigError, MissingExtra if there is no SPU for this
    machine, or the error of a system that failed.
    """
    check(load)
    models = made.models(system.spec_of(load.preset), load.owners, _SEED)
    count = _AHEAD + load.queries
    images = made.images(models[0].spec, count, _SEED)
    given = features.extract(models[0].spec, images)
    with ExitStack() as stack:
        python = None
        if any(name in _SPU for name in load.systems):
            python = stack.enter_context(environment(load.environment, progress))
        systems = [
            stack.enter_context(_running(name, models, images, python, progress))
            for name in load.systems
        ]
        asked = _ask_in_turn(systems, count, progress)
    right = opened.exact(models, given[_AHEAD:])
    return [
        _row(name, load, mine, right, _distances(name, mine, models, given[_AHEAD:]))
        for name, mine in zip(load.systems, asked, strict=True)
    ]


def _ask_in_turn(systems: Sequence[_System], count: int, progress: Progress) -> list[list[_Query]]:
    """Return every system's queries that count."""
    asked: list[list[_Query]] = [[] for _ in systems]
    for number in range(count):
        for each, mine in zip(systems, asked, strict=True):
            mine.append(each.ask(number))
        progress("query", number + 1, count)
    return [mine[_AHEAD:] for mine in asked]


def _distances(
    name: str, asked: Sequence[_Query], models: Sequence[Ran], given: Features
) -> Distances:
    """d of the images that count, as this system computes them, (queries, N)."""
    if name in _OURS:
        return opened.private(models, given, dealer=_OURS[name] == system.RANDOMNESS[0])
    return np.array([query.distances for query in asked])


def _row(
    name: str, load: Workload, asked: Sequence[_Query], right: Distances, found: Distances
) -> PeerRow:
    return PeerRow(
        system=name,
        preset=load.preset,
        owners=load.owners,
        seconds=float(np.median([query.seconds for query in asked])),
        bytes=float(np.median([query.bytes for query in asked])),
        max_error=float(np.abs(found - right).max()),
    )


class _Ours:
    """A deployment with empty pools."""

    def __init__(self, running: deployed.Deployed) -> None:
        self._running = running

    def ask(self, number: int) -> _Query:
        sample = self._running.ask(number)
        sent = sum(party.bytes_to_peer + party.bytes_from_dealer for party in sample.parties)
        return _Query(sample.client.all_s if sample.client else sample.online_s, sent)


class _Spu:
    """SPU's two processes."""

    def __init__(self, group: Group) -> None:
        self._group = group

    def ask(self, number: int) -> _Query:
        first, second = self._group.ask(number)
        seconds = max(first.seconds, second.seconds)
        return _Query(seconds, first.bytes + second.bytes, first.distances)


@contextmanager
def _running(
    name: str, models: Sequence[Ran], images: Inputs, python: Path | None, progress: Progress
) -> Iterator[_System]:
    """Run a system with `models` in it, to be asked about each of the images."""
    progress(f"start {name}", 0, 1)
    batches = [images[at : at + 1] for at in range(len(images))]
    if name in _OURS or python is None:
        setting = system.Setting(pool="empty", randomness=_OURS[name])
        with deployed.running(rows.REFERENCE, setting, models, batches, progress) as ours:
            yield _Ours(ours)
        return
    queries = np.stack([features.extract(models[0].spec, batch) for batch in batches])
    with tempfile.TemporaryDirectory(prefix="privedge-bench-") as folder:
        parameters = [model.parameters for model in models]
        files.write(Path(folder), models[0].spec, parameters, queries)
        with Group(_SPU[name], python, Path(folder), timeout_s=system.TIMEOUT_S) as group:
            yield _Spu(group)
