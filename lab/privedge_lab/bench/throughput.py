"""Measure how many queries a second a deployment sustains, with clients in parallel (asker.py).

Each client is a process. The clients first ask for a few seconds, which uses up what was prepared
at rest. So the result includes the preprocessing of as many queries as it counts. Sees everything
in the clear; all of it is synthetic (made.py).
"""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from privedge.errors import DeadlineExceeded
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import Deployment
from privedge.progress import Progress
from privedge.ran import features
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge_lab.bench import made, rows, system
from privedge_lab.bench.children import Children, module
from privedge_lab.bench.processes import Processes
from privedge_lab.reference.model import PlainModel
from privedge_lab.results.rows.bench import ThroughputRow

_SEED = 1
_IMAGES = 24
_READY_S, _WARM_UP_S = 300.0, 3.0
# When the time is up, every client still waits for its last answer.
_LAST_S = 120.0
# Many processes share few cores: each gets one thread.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "GRPC_VERBOSITY": "NONE"}


@dataclass(frozen=True)
class Workload:
    """`clients` clients ask about single images for `seconds`."""

    engine: str
    preset: system.Wanted
    owners: int
    clients: int
    seconds: float
    batching_delay_ms: float | None
    files: PublicFiles = NO_FILES


def measure(load: Workload, progress: Progress) -> ThroughputRow:
    """Measure one row. Raises ConfigError, or DeadlineExceeded if no query ended in time.

    The error of a party's refusal is raised as it is.
    """
    system.check_engine(load.engine)
    spec = system.spec_of(load.preset, load.files)
    models = made.models(spec, load.owners, _SEED, load.files)
    images = made.images(spec, _IMAGES, _SEED)
    given = features.extract(spec, images, encoder=load.files.encoder)
    expected = PlainModel(models, system.MARGIN).owners(given)
    setting = system.Setting(batching_delay_ms=load.batching_delay_ms)
    with system.running(spec, load.engine, setting) as deployment:
        system.fill(deployment, models, progress)
        with tempfile.TemporaryDirectory(prefix="privedge-bench-") as folder:
            np.save(Path(folder) / "images.npy", images, allow_pickle=False)
            heard, spent = _ask(load, deployment, Path(folder))
    return _row(load, heard, spent, expected)


def _ask(
    load: Workload, deployment: Deployment, folder: Path
) -> tuple[list[Any], dict[str, float]]:
    """Return every client's report, and the servers' CPU seconds."""
    processes = Processes.of(deployment)
    with Children("a client", folder) as clients:
        names = [f"client-{number}" for number in range(load.clients)]
        for number, name in enumerate(names):
            config = deployment.write_client_config(Identity(Role.CLIENT, name), files=load.files)
            first = number * _IMAGES // load.clients
            asker = module(
                "privedge_lab.bench.asker", str(config), str(folder / "images.npy"), str(first)
            )
            clients.start(name, asker, _ENVIRONMENT)
        clients.hear(names, _READY_S)
        starts = time.monotonic() + _WARM_UP_S
        ends = starts + load.seconds
        clients.tell(names, [starts, ends])
        time.sleep(max(0.0, starts - time.monotonic()))
        before = processes.cpu_s()
        time.sleep(max(0.0, ends - time.monotonic()))
        spent = {kind: now - before[kind] for kind, now in processes.cpu_s().items()}
        return clients.hear(names, _LAST_S), spent


def _row(
    load: Workload, heard: list[Any], spent: Mapping[str, float], expected: list[str | None]
) -> ThroughputRow:
    asked = [query for client in heard for query in client["asked"]]
    if not asked:
        raise DeadlineExceeded(
            f"no query ended within {load.seconds:g} seconds; give more --seconds"
        )
    seconds = [took for _, took, _ in asked]
    cpu_s = {kind: value / len(asked) for kind, value in spent.items()}
    return ThroughputRow(
        engine=load.engine,
        preset=system.name_of(load.preset),
        owners=load.owners,
        clients=load.clients,
        seconds=load.seconds,
        batching_delay_ms=load.batching_delay_ms,
        queries=len(asked),
        queries_per_s=len(asked) / load.seconds,
        median_s=float(np.median(seconds)),
        p95_s=float(np.percentile(seconds, 95)),
        cpu_s=sum(cpu_s.values()),
        client_cpu_s=sum(client["cpu_s"] for client in heard) / len(asked),
        cpu_by_process_s=cpu_s,
        agreement=rows.agreement(
            [[owner] for _, _, owner in asked], [[expected[picture]] for picture, _, _ in asked]
        ),
    )
