"""Progress bars are for people: on standard error, and only if that is a terminal."""

import os
import pty
import subprocess
import sys

import pytest

BARS = {
    "the whole": (
        "progress_bar() as show",
        'show("measure", 1, 2); show.owner("ana", 3, 4, 0.5)',
        ["measure", "ana, error 0.5"],
    ),
    "a training": ('training_bar(4, "loss") as show', "show(3, 0.125)", ["3/4", "loss 0.125"]),
    "bytes": ("bytes_bar() as show", 'show("upload", 5000, 10000)', ["upload", "5.0/10.0 kB"]),
    "phases": (
        'phase_bars({"train": "owners train", "ask": "client asks"}) as show',
        'show("ask", 1, 2)',
        ["owners train", "client asks", "1/2"],
    ),
}


def code(bar):
    opened, calls, _ = BARS[bar]
    return f"from privedge.cli.progress import *\nwith {opened}:\n    {calls}\nprint('done')"


@pytest.mark.parametrize("bar", BARS)
def test_a_bar_on_a_terminal_says_what_is_done_and_how_much(bar):
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120", "NO_COLOR": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", code(bar)], stdout=subprocess.PIPE, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # what a terminal says once its last writer has gone
        pass
    os.close(ours)
    printed, _ = process.communicate()
    assert (process.returncode, printed) == (0, b"done\n")
    assert [text for text in BARS[bar][2] if text not in shown.decode()] == []


@pytest.mark.parametrize("bar", BARS)
def test_nothing_is_drawn_where_nobody_looks(bar):
    ended = subprocess.run([sys.executable, "-c", code(bar)], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr.strip()) == (0, "done\n", "")
