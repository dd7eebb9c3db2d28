"""A worker computes in one thread; the threads that send and receive for it work while it waits.

Left alone, the kernel spreads these over all cores, and most steps of an exchange wake up a core
that sleeps, which takes longer than the step. On one core the next thread follows at once.
"""

import os
from collections.abc import Set


def stay_on_one_core(number: int) -> None:
    """Keep all threads this process will start on one of the cores it may use: the `number`-th,
    counted round. Does nothing where the system has no such call (Linux has).
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {chosen(number, os.sched_getaffinity(0))})


def chosen(number: int, allowed: Set[int]) -> int:
    """Which of the cores."""
    return sorted(allowed)[number % len(allowed)]
