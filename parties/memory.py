"""How a process that computes gets its memory. Linux with glibc; elsewhere nothing is changed.

By default glibc gives large blocks back to the kernel as soon as they are free, and the kernel
clears every page anew when the next tensor is made. In the dealer that took longer than dealing.
"""

import ctypes

_MIB = 1 << 20
# Numbers from malloc.h, and what they are set to. One arena: threads here take turns anyway.
_SETTINGS = {
    -8: 1,  # M_ARENA_MAX
    -3: 64 * _MIB,  # M_MMAP_THRESHOLD: larger blocks come from the kernel, and go back there
    -1: 256 * _MIB,  # M_TRIM_THRESHOLD: as much may stay free
    -2: 16 * _MIB,  # M_TOP_PAD
}


def keep_freed_pages() -> None:
    """Call once, before the first tensor."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in _SETTINGS.items():
            mallopt(parameter, value)
