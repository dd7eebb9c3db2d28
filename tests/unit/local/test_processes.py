"""A process is found again by its file, whatever became of who started it."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from privedge.errors import ConfigError
from privedge.local import processes

WAITS = "import signal; signal.pause()"
DEAF = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def started(tmp_path):
    """start(code) runs it as the process "party0"; all are ended at the end."""
    children = []

    def start(code):
        command = [sys.executable, "-c", code]
        child = processes.start(command, tmp_path, "party0", tmp_path / "log")
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()


def test_a_process_is_known_by_its_own_id_until_it_ends(tmp_path, started):
    assert processes.pid_of(tmp_path, "party0") is None
    child = started(WAITS)
    assert processes.pid_of(tmp_path, "party0") == child.pid
    assert os.getsid(child.pid) == child.pid  # a Ctrl-C of this terminal does not reach it
    child.kill()
    child.wait()
    assert processes.pid_of(tmp_path, "party0") is None
    assert processes.pid_file(tmp_path, "party0").exists()  # left behind, and misleading nobody


def test_its_own_children_do_not_make_it_seem_alive(tmp_path, started):
    child = started(
        "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', "
        "'import signal; signal.pause()']).pid, flush=True)"
    )
    child.wait()
    grandchild = psutil.Process(int((tmp_path / "log").read_text()))
    try:
        assert grandchild.is_running()
        assert processes.pid_of(tmp_path, "party0") is None
    finally:
        grandchild.kill()


def test_what_it_says_goes_to_its_log(tmp_path, started):
    started("import sys; print('said'); print('complained', file=sys.stderr)").wait()
    assert sorted((tmp_path / "log").read_text().split()) == ["complained", "said"]


def test_it_is_not_started_twice(tmp_path, started):
    started(WAITS)
    with pytest.raises(ConfigError, match="party0 runs already"):
        started(WAITS)


def test_one_that_will_not_end_is_killed(tmp_path, started):
    child = started(DEAF)
    log = tmp_path / "log"
    while not log.exists() or log.read_text() != "deaf\n":
        assert child.poll() is None
    assert processes.stop(tmp_path, "party0", within_s=0.0)
    assert child.wait() == -signal.SIGKILL
    assert not processes.stop(tmp_path, "party0")


HOLDS = """
import os, sys
from pathlib import Path
from privedge.local import lifeline, processes
folder = Path(sys.argv[1])
with processes.this_command(folder):
    line = lifeline.start(folder)
    wait = [sys.executable, "-c", "import signal; signal.pause()"]
    for name in ("dealer", "party0", "party1"):
        processes.start(wait, folder, name, folder / "log")
    if sys.argv[2] == "keep":
        lifeline.release(line, lifeline.KEEP)
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(("word", "left"), [("stop", 0), ("keep", 3)])
def test_servers_of_a_command_that_was_killed_are_stopped_unless_kept(tmp_path, word, left):
    command = subprocess.Popen(
        [sys.executable, "-c", HOLDS, tmp_path, word], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert command.stdout.readline() == b"ready\n"
    assert processes.pid_of(tmp_path, "up") == command.pid
    assert running(tmp_path) == 3
    children = psutil.Process(command.pid).children()
    command.kill()
    command.communicate()
    try:
        if not left:
            psutil.wait_procs(children, timeout=60)
        assert running(tmp_path) == left
    finally:
        processes.stop_servers(tmp_path)
    assert running(tmp_path) == 0


def running(folder):
    names = ("dealer", "party0", "party1")
    return sum(processes.pid_of(folder, name) is not None for name in names)
