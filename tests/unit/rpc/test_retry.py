"""privedge/rpc/retry.py: what is repeated, how often, and after how long a pause."""

import pytest

from privedge import errors
from privedge.errors import (
    Busy,
    Cancelled,
    LimitExceeded,
    PrivEdgeError,
    Restarting,
    Unreachable,
)
from privedge.rpc import retry
from privedge.rpc.retry import Patience, retried
from privedge.rpc.status import STATUS

PATIENT = Patience(within_s=3600, retries=5)


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that were made; none takes any time."""
    made = []
    monkeypatch.setattr(retry.time, "sleep", made.append)
    return made


class Server:
    """Fails with each of `ends` in turn, then answers."""

    def __init__(self, *ends: PrivEdgeError) -> None:
        self._ends = list(ends)
        self.calls = 0

    def __call__(self, timeout_s: float) -> str:
        self.calls += 1
        if self._ends:
            raise self._ends.pop(0)
        return "answer"


def test_w15_a_busy_server_is_asked_again_after_growing_pauses(pauses):
    server = Server(*[Busy("", 0)] * 5)
    assert retried(server, PATIENT) == "answer"
    assert server.calls == 6
    for least, pause in zip((0.25, 0.5, 1, 2, 4), pauses, strict=True):
        assert least <= pause < 1.5 * least


@pytest.mark.parametrize("hint", [0.5, 2.0, 30.0])
def test_w15_no_pause_is_shorter_than_the_server_asked_for(pauses, hint):
    assert retried(Server(Busy("", hint), Busy("", hint)), PATIENT) == "answer"
    assert all(hint <= pause for pause in pauses)


@pytest.mark.parametrize(("retries", "calls"), [(0, 1), (2, 3)])
def test_a_caller_gives_up_after_as_many_retries_as_it_may_make(pauses, retries, calls):
    server = Server(*[Busy()] * 9)
    with pytest.raises(Busy):
        retried(server, Patience(3600, retries))
    assert server.calls == calls


def test_a_lost_connection_is_tried_twice_more(pauses):
    server = Server(*[Unreachable()] * 9)
    with pytest.raises(Unreachable):
        retried(server, PATIENT)
    assert server.calls == 3


def test_nothing_is_tried_again_if_the_pause_would_outlast_the_call(pauses):
    server = Server(Busy("", 30))
    with pytest.raises(Busy):
        retried(server, Patience(within_s=20, retries=5))
    assert (server.calls, pauses) == (1, [])


@pytest.mark.parametrize(
    "kind", [kind for kind in STATUS if issubclass(kind, PrivEdgeError)] + [Cancelled]
)
def test_only_what_may_be_repeated_is(kind, pauses):
    server = Server(kind("no"))
    if kind in (Busy, Restarting, Unreachable, Cancelled):
        assert retried(server, PATIENT) == "answer"
    else:
        with pytest.raises(kind):
            retried(server, PATIENT)
        assert server.calls == 1


def test_a_hint_is_no_part_of_another_limit():
    assert not hasattr(LimitExceeded("too large"), "retry_after_s")
    assert issubclass(errors.Busy, LimitExceeded)


def test_w29_a_server_that_restarts_is_asked_again_for_as_long_as_there_is_time(pauses):
    server = Server(*[Restarting("", 0.5)] * 20)
    assert retried(server, PATIENT) == "answer"
    assert server.calls == 21


@pytest.mark.parametrize("kind", [Restarting, Unreachable])
def test_w29_who_asked_for_no_retries_gets_none(pauses, kind):
    server = Server(kind())
    with pytest.raises(kind):
        retried(server, Patience(3600, 0, answered=True))
    assert server.calls == 1


def test_w29_a_server_that_was_there_before_may_be_away_for_a_while(pauses):
    server = Server(*[Unreachable()] * 20)
    assert retried(server, Patience(3600, 1, answered=True)) == "answer"
