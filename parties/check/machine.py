"""Whether this machine has what the file asks for: cores, memory, descriptors, a kernel cache."""

import os
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from parties.config.dealer import DealerConfig
from parties.config.party import PartyConfig
from parties.cores import usable_cores
from parties.descriptors import allowed
from parties.mpc.compiled import cache
from privedge.findings import Finding

_MIB = 1 << 20
# Measured: a worker with its packages loaded, and a front end (docs/how-to/size-a-pool.md).
_WORKER_MIB = 220
_FRONT_END_MIB = 150
# Connections beside those of queries: of servers, owners, workers, health checks; and open files.
_OTHER_DESCRIPTORS = 512
_LIMIT_OF_A_GROUP = Path("/sys/fs/cgroup/memory.max")


def check_machine(config: PartyConfig | DealerConfig) -> Iterator[Finding]:
    """What this machine lacks."""
    if isinstance(config, PartyConfig):
        yield from _cores(config)
        used = f"{config.workers} workers with [pool] memory_mib = {config.pool.memory_mib}"
        count = config.workers * (2 if config.spare_workers else 1)
        mib = _FRONT_END_MIB + count * _WORKER_MIB + config.workers * config.pool.memory_mib
        queries = config.limits.max_queries
    else:
        used = f"[limits] weight_cache_mib = {config.limits.weight_cache_mib}"
        mib, queries = _WORKER_MIB + config.limits.weight_cache_mib, 0
    if mib > (there := memory_mib()):
        yield Finding("memory", f"{used} may take {mib} MiB, and {there} are there; lower it")
    needed = _OTHER_DESCRIPTORS + queries
    if (most := allowed()) < needed:
        yield Finding(
            "descriptors", f"at most {most} may be open, {needed} are needed; raise `ulimit -Hn`"
        )
    yield from _kernels()


def memory_mib() -> int:
    """Memory that processes here may use: the machine's, or less if a control group limits it."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # there is no group, or its limit is "max"
        found = min(found, int(_LIMIT_OF_A_GROUP.read_text(encoding="ascii")))
    return found // _MIB


def _cores(config: PartyConfig) -> Iterator[Finding]:
    there = len(usable_cores()) or os.cpu_count() or 1
    wanted = config.workers * config.threads
    if wanted > there:
        yield Finding(
            "workers",
            f"{config.workers} workers of {config.threads} threads want {wanted} cores, and this "
            f"process may use {there}; lower `workers` or `threads`",
        )


def _kernels() -> Iterator[Finding]:
    try:
        folder = cache.folder()
    except PackageNotFoundError:  # numba; said with the packages
        return
    try:
        why = cache.fault_of(folder)
    except OSError as error:
        why = f"cannot be looked at ({error.strerror})"
    if why:
        yield Finding(
            "kernels",
            f"{folder}: {why}; every start would compile for some ten seconds: set CACHE_DIRECTORY "
            "as the server has it",
        )
