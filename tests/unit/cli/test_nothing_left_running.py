"""privedge/cli/ending.py: what a command has started ends with it, and nothing else does."""

import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest

from privedge.cli.ending import nothing_left_running

# A parent that has a child, and says so.
FAMILY = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print("ready", flush=True)
sys.stdin.readline()
subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print("again", flush=True)
sys.stdin.readline()
"""


class Family:
    """A process and its children."""

    def __init__(self) -> None:
        self.parent = subprocess.Popen(
            [sys.executable, "-c", FAMILY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready"

    def grow(self) -> None:
        assert self.parent.stdin is not None
        self.parent.stdin.write("\n")
        self.parent.stdin.flush()
        assert self._line() == "again"

    def members(self) -> list[psutil.Process]:
        parent = psutil.Process(self.parent.pid)
        return [parent, *parent.children()]

    def end(self) -> None:
        for process in self.members() if self.parent.poll() is None else ():
            process.kill()
        self.parent.communicate()

    def _line(self) -> str:
        assert self.parent.stdout is not None
        return self.parent.stdout.readline().strip()


@pytest.fixture
def family() -> Iterator[Callable[[], Family]]:
    """family() -> a new one, which is gone after the test."""
    families: list[Family] = []

    def new() -> Family:
        families.append(Family())
        return families[-1]

    yield new
    for each in families:
        each.end()


def test_a_command_kills_what_it_started_and_leaves_what_its_program_had(family):
    of_the_program = family()
    with nothing_left_running():
        started = family().members()
        of_the_program.grow()
    _, alive = psutil.wait_procs(started, timeout=30)
    assert len(started) == 2
    assert alive == []
    assert [process.is_running() for process in of_the_program.members()] == [True] * 3
