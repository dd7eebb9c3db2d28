"""Resident memory of every process of a deployment, at rest and after its first query."""

from dataclasses import dataclass

from privedge.client.query import Client
from privedge_lab.bench import made, system
from privedge_lab.bench.processes import Memory, Processes
from privedge_lab.bench.system import Progress

_SEED = 1


@dataclass(frozen=True)
class Measured:
    """One deployment. A party is its front end and its workers together."""

    preset: str
    owners: int
    at_rest: list[Memory]
    after_a_query: list[Memory]
    party_at_rest_mb: dict[str, float]
    party_after_a_query_mb: dict[str, float]


def measure(preset: str, owners: int, progress: Progress) -> Measured:
    """Raises ConfigError for an unknown preset, and what a party refuses."""
    spec = system.spec_of(preset)
    models = made.models(spec, owners, _SEED)
    with system.running(spec) as deployment:
        processes = Processes.of(deployment)
        at_rest = processes.memory()
        system.fill(deployment, models, progress)
        with Client(system.client_config(deployment)) as client:
            client.identify(made.images(spec, 1, _SEED), system.COHORT)
        after = processes.memory()
    return Measured(preset, owners, at_rest, after, _parties(at_rest), _parties(after))


def _parties(measured: list[Memory]) -> dict[str, float]:
    return {
        party: sum(each.rss_mb for each in measured if each.process.split()[0] == party)
        for party in ("party0", "party1")
    }
