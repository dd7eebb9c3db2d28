"""Run a command as on a processor without AVX-512: `python tools/without_avx512.py COMMAND ...`.

torch multiplies 64-bit integers some thirty times slower where AVX-512 is missing, so a figure from
one kind of processor says little about the other. This switches AVX-512 off for ATen, oneDNN, MKL,
numba and, by a library that is loaded before torch's and needs a C compiler, FBGEMM, which has no
setting for it. The command and whatever it starts use AVX2 then. `privedge bench` goes on naming
the processor as it is.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

# What FBGEMM asks before it multiplies; their names are those of C++.
_FBGEMM = """
#include <stdbool.h>
bool _ZN6fbgemm22fbgemmHasAvx512SupportEv(void) { return false; }
bool _ZN6fbgemm26fbgemmHasAvx512Bf16SupportEv(void) { return false; }
"""
_SETTINGS = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    # The first generation with AVX2; numba takes its instructions and no others.
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "",
}


def main() -> int:
    """Run the command of the command line. Returns its exit status."""
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "fbgemm_without_avx512.so"
        built = subprocess.run(
            ["cc", "-shared", "-fPIC", "-x", "c", "-o", str(library), "-"],
            input=_FBGEMM,
            text=True,
            check=False,
        )
        if built.returncode:
            print("without_avx512: needs a C compiler named cc", file=sys.stderr)
            return 1
        environment = {**os.environ, **_SETTINGS, "LD_PRELOAD": str(library)}
        return subprocess.run(sys.argv[1:], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
