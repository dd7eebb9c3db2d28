"""parties/serving/ending.py, in processes of their own: signals belong to a whole process."""

import signal
import subprocess
import sys

import pytest

SERVES = """
import signal, threading
from parties.serving import ending
ending.leave_when_told()
{before}
ending.wait_until_told()
print("in good order")
"""
# The kernel may choose any thread for a signal. This one gets it while the main thread waits.
IN_ANOTHER_THREAD = """
import os
wait = os.read
def read(*pipe):
    tell = lambda: signal.pthread_kill(threading.get_ident(), signal.{name})
    threading.Thread(target=tell).start()
    return wait(*pipe)
os.read = read
"""
# While it starts.
AT_ONCE = "signal.raise_signal(signal.{name}); print('not reached')"
# What swallows the exit of a start does not swallow the signal.
SWALLOWED = """
try:
    signal.raise_signal(signal.{name})
except SystemExit:
    pass
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    ("before", "says"),
    [(IN_ANOTHER_THREAD, "in good order\n"), (AT_ONCE, ""), (SWALLOWED, "in good order\n")],
    ids=["in another thread", "while it starts", "swallowed"],
)
def test_w67_a_signal_ends_a_server_whenever_and_wherever_it_arrives(name, before, says):
    code = SERVES.format(before=before.format(name=name))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, says, "")


def test_w67_it_catches_both_before_anything_that_takes_time():
    code = "import sys, parties.serving.ending; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert not {"grpc", "pydantic", "torch"} & set(loaded.stdout.split())
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # importing it changes nothing


LEAVES = """
import atexit, sys, threading
from concurrent.futures import ThreadPoolExecutor
from parties.serving import ending
class Large:
    def __del__(self): print("taken apart", file=sys.stderr)
kept, go = Large(), threading.Event()
atexit.register(print, "last words")
threading.Thread(target=lambda: go.wait(60) and print("went on")).start()
threading.Thread(target=go.set).start()
ThreadPoolExecutor(1).submit(int).result()  # whose thread waits for more
ending.leave(3)
"""


def test_a_server_leaves_when_all_has_ended_and_takes_nothing_apart():
    ended = subprocess.run(
        [sys.executable, "-c", LEAVES], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "went on\nlast words\n", "")
