"""parties/periodic.py: the thread that looks after trash, shares, causes and certificates."""

import queue
import threading

import pytest

from parties.periodic import Periodic

NEVER_S = 3600
SOON = 30


@pytest.fixture
def calls():
    return queue.SimpleQueue()


def test_it_works_again_after_a_failure_and_logs_its_kind_once(calls, caplog):
    def fail():
        calls.put(None)
        raise OSError("the disk of somebody")

    thread = Periodic("trash keeper", fail, 0.001)
    thread.start()
    for _ in range(3):
        calls.get(timeout=SOON)
    thread.stop()
    assert caplog.messages == ["trash keeper failed, and will be tried again: OSError"]


def test_it_works_at_once_when_it_is_woken_also_before_it_starts(calls):
    thread = Periodic("woken", lambda: calls.put(None), NEVER_S)
    thread.wake()
    thread.start()
    calls.get(timeout=SOON)
    thread.wake()
    calls.get(timeout=SOON)
    thread.stop()


def test_it_does_not_work_at_its_end(calls):
    thread = Periodic("ended", lambda: calls.put(None), NEVER_S)
    thread.start()
    thread.stop()
    assert calls.empty()


def test_its_end_waits_for_work_which_can_tell_that_it_is_told_to(calls):
    begun, waited = threading.Event(), []

    def work():
        begun.set()
        waited.append(thread.stopping(NEVER_S))

    thread = Periodic("waits", work, 0.001)
    thread.start()
    assert begun.wait(SOON)
    assert not thread.stopping()
    thread.stop()
    assert waited == [True]
