"""Ask the operating system for CPU seconds and memory of the measured processes."""

from collections.abc import Mapping
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]  # no stubs among our tools

from privedge.identity.roles import Role
from privedge.local.deployment import Deployment

_MB = 1e6


@dataclass(frozen=True)
class Memory:
    """A process's memory. `rss_mb` counts shared libraries in full, `uss_mb` only its own pages."""

    process: str
    rss_mb: float
    uss_mb: float


class Processes:
    """Running processes by name: `party0`, `party0 worker 0`, ..., `dealer`."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._found = {name: psutil.Process(pid) for name, pid in pids.items()}

    @staticmethod
    def of(deployment: Deployment) -> "Processes":
        """Return the processes of a running deployment."""
        pids = {}
        for server in deployment.servers:
            pids[server.value] = deployment.processes[server].pid
            children = [child.pid for child in psutil.Process(pids[server.value]).children()]
            for slot, worker in enumerate(sorted(children)):
                pids[f"{server} worker {slot}"] = worker
        return Processes(pids)

    def cpu_s(self) -> Mapping[str, float]:
        """Return CPU seconds since the start, user and system: of front_ends, of workers, and of
        the dealer, if there is one.
        """
        spent = dict.fromkeys(map(_kind, self._found), 0.0)
        for name, process in self._found.items():
            times = process.cpu_times()
            spent[_kind(name)] += times.user + times.system
        return spent

    def memory(self) -> list[Memory]:
        """Measure each process's memory now."""
        measured = []
        for name, process in self._found.items():
            facts = process.memory_full_info()
            measured.append(Memory(name, facts.rss / _MB, facts.uss / _MB))
        return sorted(measured, key=lambda each: each.process)


def _kind(name: str) -> str:
    if name == Role.DEALER:
        return "dealer"
    return "workers" if " worker " in name else "front_ends"
