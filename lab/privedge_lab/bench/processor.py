"""Name this machine's processor for people, beside what was measured on it.

How fast 64-bit integers are multiplied depends on its vector instructions more than on anything
else, so those are named with it.
"""

import platform
from pathlib import Path

from privedge_lab.results.rows.values import plain

_CPUINFO = Path("/proc/cpuinfo")

# By the flag of Linux, the widest first. Of AVX-512 the part with 64-bit products counts.
_VECTORS = {"avx512dq": "AVX-512", "avx2": "AVX2", "asimd": "NEON", "neon": "NEON"}
_ARM = ("arm64", "aarch64")


def processor() -> str:
    """Return the model's name and its vector instructions, such as "AMD EPYC, AVX-512".

    On Linux they come from /proc/cpuinfo, elsewhere from Python's `platform`, which knows the
    vector instructions of ARM only.
    """
    try:
        cpuinfo = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        cpuinfo = ""
    return described(cpuinfo, platform.machine(), platform.processor())


def described(cpuinfo: str, machine: str, otherwise: str) -> str:
    """`processor` from the text of /proc/cpuinfo and from what `platform` calls machine and
    processor, each of which may be empty.
    """
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value)
    names = map(plain, (fields.get("model name", ""), otherwise, machine))
    model = next(filter(None, names), "unknown processor")
    flags = fields.get("flags", fields.get("features", "")).split()
    if not flags:
        # Every 64-bit ARM has NEON.
        return f"{model}, NEON" if machine.lower().startswith(_ARM) else model
    found = next((name for flag, name in _VECTORS.items() if flag in flags), "no AVX2")
    return f"{model}, {found}"
