"""A server's threads stay on their cores, and workers of one machine on different cores."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.cores import chosen, usable_cores

PROGRAM = """
import os, threading
from parties.cores import chosen, stay_on, usable_cores

stay_on(chosen(1, 1, usable_cores()))
thread = threading.Thread(target=lambda: print(*os.sched_getaffinity(0)))
thread.start()
thread.join()
"""


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="cores can be chosen on Linux only"
)
def test_threads_started_later_stay_on_it_too():
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.split() == [*map(str, chosen(1, 1, usable_cores()))]


@given(
    st.lists(st.integers(0, 500), min_size=1, unique=True), st.integers(0, 70), st.integers(1, 8)
)
def test_workers_take_all_cores_in_turn(allowed, first, count):
    workers = -(-len(allowed) // count)
    taken = [chosen(first + slot, count, allowed) for slot in range(workers)]
    assert {core for each in taken for core in each} == set(allowed)
    assert {len(each) for each in taken} == {min(count, len(allowed))}
    if len(allowed) % count == 0:
        assert sum(map(len, taken)) == len(allowed)
