"""Processes side by side: what they tell and answer, and what is left when one is ended or ends."""

import os
import threading

import pytest

from privedge import child_processes
from privedge.errors import TrainingError

MODULE = """
import os, signal
from pathlib import Path
from privedge.errors import ConfigError

def answered(request, tell):
    if request["do"] == "refuse":
        raise ConfigError("not like this")
    if request["do"] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if request["do"] == "write":
        half = Path(request["file"])
        half.write_text("half")
        try:
            tell({"pid": os.getpid()})
            signal.pause()
        finally:
            half.unlink()
    for number in range(request["tell"]):
        tell({"number": number})
    return {"pid": os.getpid()}
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module that workers can import."""
    (tmp_path / "made_for_workers.py").write_text(MODULE)
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), before])))
    return "made_for_workers"


def test_workers_tell_and_answer_in_processes_of_their_own(module):
    told, threads = [], set()

    def hear(name, message):
        told.append((name, message["number"]))
        threads.add(threading.get_ident())

    with child_processes.started(2, module) as ask:
        requests = [(name, {"do": "tell", "tell": count}) for name, count in (("a", 2), ("b", 3))]
        answers = dict(ask(requests, hear))
        again = dict(ask([("c", {"do": "tell", "tell": 1})], hear))
    assert os.getpid() not in {answer["pid"] for answer in answers.values()}
    assert again["c"]["pid"] in {answer["pid"] for answer in answers.values()}
    assert sorted(told) == [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2), ("c", 0)]
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize(("do", "message"), [("refuse", "not like this"), ("die", "too early")])
def test_a_worker_that_cannot_answer_ends_in_one_line(module, do, message):
    with (
        child_processes.started(1, module) as ask,
        pytest.raises(TrainingError, match=message) as caught,
    ):
        list(ask([("a", {"do": do})]))
    assert "\n" not in str(caught.value)


class Interrupted(Exception):
    """Stands for Ctrl-C."""


def test_whoever_leaves_early_leaves_no_process_and_nothing_half_written(module, tmp_path):
    half, seen = tmp_path / "half", []

    def leave(_, message):
        assert half.exists()
        seen.append(message["pid"])
        raise Interrupted

    with pytest.raises(Interrupted), child_processes.started(1, module) as ask:
        list(ask([("a", {"do": "write", "file": str(half)})], leave))
    assert not half.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(seen[0], 0)
