"""Measure the resident memory of a deployment's processes, at rest and after the first query."""

from collections.abc import Sequence
from dataclasses import asdict

from privedge.client.query import Client
from privedge.progress import Progress
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge_lab.bench import made, system
from privedge_lab.bench.processes import Memory, Processes
from privedge_lab.results.rows.bench import MemoryRow, ProcessMemory

_SEED = 1


def measure(
    preset: system.Wanted, owners: int, progress: Progress, files: PublicFiles = NO_FILES
) -> MemoryRow:
    """Measure one deployment of `owners` models.

    files: their encoder takes the place of the preset's feature map.

    Raises ConfigError for an unknown preset, or the error of a party's refusal.
    """
    spec = system.spec_of(preset, files)
    models = made.models(spec, owners, _SEED, files)
    with system.running(spec) as deployment:
        processes = Processes.of(deployment)
        at_rest = processes.memory()
        system.fill(deployment, models, progress)
        with Client(system.client_config(deployment, files)) as client:
            client.identify(made.images(spec, 1, _SEED), system.COHORT)
        after = processes.memory()
    return MemoryRow(
        preset=system.name_of(preset),
        owners=owners,
        at_rest=_figures(at_rest),
        after_a_query=_figures(after),
        party_at_rest_mb=_parties(at_rest),
        party_after_a_query_mb=_parties(after),
    )


def _figures(measured: Sequence[Memory]) -> tuple[ProcessMemory, ...]:
    return tuple(ProcessMemory(**asdict(each)) for each in measured)


def _parties(measured: list[Memory]) -> dict[str, float]:
    return {
        party: sum(each.rss_mb for each in measured if each.process.split()[0] == party)
        for party in ("party0", "party1")
    }
