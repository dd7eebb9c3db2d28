"""Keeps a front end on one processor core, and a worker on one for each of its threads.

The threads that send and receive for a server work while it waits for them. The kernel would spread
these over all cores. Then most steps of an exchange wake a sleeping core, which takes longer than
the step itself. On one core the next thread follows at once.
"""

import os
from collections.abc import Sequence


def usable_cores() -> tuple[int, ...]:
    """Return the cores that this process may use, or none on systems without this call; Linux has
    it.
    """
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_setaffinity") else ()


def chosen(number: int, count: int, cores: Sequence[int]) -> tuple[int, ...]:
    """Return `count` of `cores`, or all if there are no more, for a process before which `number`
    others took as many. After the last core comes the first again.
    """
    taken = (cores[(number * count + each) % len(cores)] for each in range(count))
    return tuple(sorted(set(taken)))


def stay_on(cores: Sequence[int]) -> None:
    """Keep this thread, and all threads and processes that it will start, on these cores."""
    os.sched_setaffinity(0, cores)
