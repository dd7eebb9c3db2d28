"""privedge/rpc/time_limit.py: a call that needs too long is cancelled, and only that call."""

import threading
from concurrent.futures import ThreadPoolExecutor

from privedge.rpc.time_limit import given_up_after, timely


class Call:
    """As much of a servicer context as a time limit uses."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()


class Deaf:
    """A context that fails to be cancelled."""

    def __init__(self) -> None:
        self.tried = threading.Event()

    def cancel(self) -> None:
        self.tried.set()
        raise RuntimeError


def test_a_block_that_lasts_too_long_loses_its_call():
    call = Call()
    with given_up_after(0.01, call):
        assert call.cancelled.wait(30)


def test_an_earlier_limit_is_kept_although_a_later_one_came_first():
    patient, hasty = Call(), Call()
    with given_up_after(3600, patient), given_up_after(0.01, hasty):
        assert hasty.cancelled.wait(30)
        assert not patient.cancelled.is_set()


def test_a_block_that_ended_in_time_keeps_its_call():
    done, late = Call(), Call()
    with given_up_after(0.05, done):
        pass
    # `late` rings after `done` would have.
    with given_up_after(0.1, late):
        assert late.cancelled.wait(30)
    assert not done.cancelled.is_set()


def test_a_call_that_cannot_be_cancelled_does_not_spare_the_others():
    deaf, call = Deaf(), Call()
    with given_up_after(0.01, deaf), given_up_after(0.02, call):
        assert deaf.tried.wait(30)
        assert call.cancelled.wait(30)


def test_c16_a_stream_that_stops_half_way_loses_its_call():
    call = Call()

    def stream():
        yield 1
        assert call.cancelled.wait(30)

    assert list(timely(stream(), 0.01, call)) == [1]


def test_many_limits_at_once_all_ring():
    waiting = [Call() for _ in range(50)]

    def held(call: Call) -> bool:
        with given_up_after(0.01, call):
            return call.cancelled.wait(30)

    with ThreadPoolExecutor(len(waiting)) as threads:
        assert all(threads.map(held, waiting))
