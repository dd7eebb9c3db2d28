"""Keeps a worker on one processor core for each thread that it computes with.

The threads that send and receive for a worker work while it waits for them. The kernel would spread
these over all cores. Most steps of an exchange then wake a sleeping core, which takes longer than
the step itself. On one core the next thread follows at once.
"""

import os
from collections.abc import Set


def stay_on_cores(number: int, count: int = 1) -> None:
    """Keep all threads that this process will start on `count` of the cores that it may use.

    `number` is how many processes of that kind take cores before this one: it takes the next, and
    begins again at the first where there are no more. Does nothing on systems without this call;
    Linux has it.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, chosen(number, count, os.sched_getaffinity(0)))


def chosen(number: int, count: int, allowed: Set[int]) -> set[int]:
    """Return `count` of the cores `allowed`, or all if there are no more."""
    cores = sorted(allowed)
    return {cores[(number * count + each) % len(cores)] for each in range(count)}
