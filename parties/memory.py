"""Lets a process that computes reuse its memory. Linux with glibc only; elsewhere it does nothing.

By default glibc returns large blocks to the kernel as soon as they are free, and the kernel clears
every page again when the next tensor is made. In the dealer that took longer than dealing.
"""

import ctypes

_MIB = 1 << 20
# Parameters of mallopt and their values. One arena is enough: one thread computes at a time.
_SETTINGS = {
    -8: 1,  # M_ARENA_MAX
    -3: 64 * _MIB,  # M_MMAP_THRESHOLD: larger blocks come from the kernel and return to it
    -1: 256 * _MIB,  # M_TRIM_THRESHOLD: up to this much stays allocated when it is free
    -2: 16 * _MIB,  # M_TOP_PAD
}


def keep_freed_pages() -> None:
    """Make glibc keep freed pages. Call it once, before the first tensor is made."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in _SETTINGS.items():
            mallopt(parameter, value)
