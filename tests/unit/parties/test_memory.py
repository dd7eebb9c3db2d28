"""A computing process keeps its freed pages and uses them again."""

import platform
import subprocess
import sys

import pytest

ROUNDS = 30
BLOCK = 20_000_000

PROGRAM = f"""
import resource, threading
import numpy as np
from parties.memory import keep_freed_pages

{{call}}

def work():
    np.ones(2 * {BLOCK}, dtype=np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({ROUNDS}):
        parts = [np.ones({BLOCK}, dtype=np.uint8) for _ in range(2)]
        del parts
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def faults(call: str) -> int:
    """Pages fetched from the kernel by the same work in a fresh process."""
    program = [sys.executable, "-c", PROGRAM.format(call=call)]
    return int(subprocess.run(program, check=True, capture_output=True, timeout=60).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_pages_are_fetched_once():
    assert 3 * faults("keep_freed_pages()") < faults("")
