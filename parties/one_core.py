"""Keeps all threads of a front end, or of a worker, on one processor core.

Both run Python in one thread at a time, and the threads that send and receive for it work while it
waits. The kernel would spread these over all cores. Then most steps of an exchange wake a sleeping
core, which takes longer than the step itself. On one core the next thread follows at once.
"""

import os
from collections.abc import Sequence


def usable_cores() -> tuple[int, ...]:
    """Return the cores that this process may use, or none on systems without this call; Linux has
    it.
    """
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_setaffinity") else ()


def chosen(number: int, cores: Sequence[int]) -> int:
    """Return the core number `number` of `cores`, modulo how many there are."""
    return cores[number % len(cores)]


def stay_on(core: int) -> None:
    """Keep this thread, and all threads and processes that it will start, on that core."""
    os.sched_setaffinity(0, {core})
