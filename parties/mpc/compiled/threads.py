"""More than one thread for a product of many owners: each computes some of them, with the same
results. A worker has one by default, for on most machines other work fills the other cores.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_pool: ThreadPoolExecutor | None = None
_threads = 1


def use(threads: int) -> None:
    """From now on products of this process use so many threads. Call it before the first."""
    global _pool, _threads
    _threads = threads
    # The calling thread computes a part too.
    _pool = ThreadPoolExecutor(threads - 1, "product") if threads > 1 else None


def spread(owners: int, work: Callable[[int, int], object]) -> None:
    """Call `work(start, stop)` for all of 0 .. owners - 1, in one part for each thread."""
    pool, parts = _pool, min(_threads, owners)
    if pool is None or parts < 2:
        work(0, owners)
        return
    ends = [owners * part // parts for part in range(parts + 1)]
    others = [pool.submit(work, *ends[part : part + 2]) for part in range(1, parts)]
    work(ends[0], ends[1])
    for each in others:
        each.result()
