"""A server's threads stay on one core, and workers of one machine on different cores."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.one_core import chosen, usable_cores

PROGRAM = """
import os, threading
from parties.one_core import chosen, stay_on, usable_cores

stay_on(chosen(1, usable_cores()))
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
    assert ran.stdout.split() == [str(chosen(1, usable_cores()))]


@given(st.lists(st.integers(0, 500), min_size=1, unique=True), st.integers(0, 70))
def test_as_many_workers_as_cores_have_one_each(allowed, first):
    taken = [chosen(first + slot, allowed) for slot in range(len(allowed))]
    assert sorted(taken) == sorted(allowed)
