"""Processes of the bench that misbehave end it in one line, and end with it."""

import pytest

from privedge.errors import DeadlineExceeded, Unreachable
from privedge_lab.bench.children import Children, module

# Reads addresses, and answers each; silent until then.
MODULE = "privedge_lab.bench.relay"


def test_a_silent_process_is_not_waited_for_for_ever(tmp_path):
    with Children("a relay", tmp_path) as children:
        children.start("one", module(MODULE, "0"), {})
        with pytest.raises(DeadlineExceeded, match="a relay said nothing for 0 seconds"):
            children.hear(["one"], 0.01)


def test_a_process_that_ends_is_reported_with_its_last_words(tmp_path):
    with Children("a relay", tmp_path) as children:
        children.start("one", module(MODULE, "soon"), {})
        with pytest.raises(Unreachable, match=r"a relay ended: ValueError: .*'soon'"):
            children.hear(["one"], 60)


def test_leaving_ends_every_process(tmp_path):
    psutil = pytest.importorskip("psutil")
    with Children("a relay", tmp_path) as children:
        for name in ("one", "other"):
            children.start(name, module(MODULE, "0"), {})
        pids = children.pids
        assert all(map(psutil.pid_exists, pids.values()))
    assert not any(map(psutil.pid_exists, pids.values()))


def test_what_is_no_program_is_named(tmp_path):
    fault = pytest.raises(Unreachable, match="a relay cannot be started: No such file")
    with Children("a relay", tmp_path) as children, fault:
        children.start("one", [str(tmp_path / "none")], {})
