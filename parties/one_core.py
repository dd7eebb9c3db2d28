"""Keeps all threads of a worker on one processor core.

A worker computes in one thread, and the threads that send and receive for it work while it waits.
The kernel would spread these over all cores. Most steps of an exchange then wake a sleeping core,
which takes longer than the step itself. On one core the next thread follows at once.
"""

import os
from collections.abc import Set


def stay_on_one_core(number: int) -> None:
    """Keep all threads that this process will start on one of the cores that it may use.

    It is the `number`-th core, counted round. Nothing happens where the system has no such call;
    Linux has it.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {chosen(number, os.sched_getaffinity(0))})


def chosen(number: int, allowed: Set[int]) -> int:
    """The core with that number, counted round."""
    return sorted(allowed)[number % len(allowed)]
