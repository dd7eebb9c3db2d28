"""Keeps all threads of a worker on one processor core.

A worker computes in one thread, and the threads that send and receive for it work while it waits.
The kernel would spread these over all cores. Most steps of an exchange then wake a sleeping core,
which takes longer than the step itself. On one core the next thread follows at once.
"""

import os
from collections.abc import Set


def stay_on_one_core(number: int) -> None:
    """Keep all threads that this process will start on one of the cores that it may use.

    It is the core number `number`, modulo the number of cores. Does nothing on systems without this
    call; Linux has it.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {chosen(number, os.sched_getaffinity(0))})


def chosen(number: int, allowed: Set[int]) -> int:
    """Return the core number `number` of `allowed`, modulo its size."""
    return sorted(allowed)[number % len(allowed)]
