"""privedge/rpc/threads.py: threads of calls come with the calls, and go again."""

import threading

import pytest

from privedge.rpc.threads import Threads

WITHIN_S = 30


def busy(threads: Threads, count: int) -> list[threading.Thread]:
    """The threads of `count` pieces of work that all ran at once."""
    together, mine = threading.Barrier(count + 1), []

    def work() -> None:
        mine.append(threading.current_thread())
        together.wait(WITHIN_S)

    for _ in range(count):
        threads.run(work)
    together.wait(WITHIN_S)
    threads.wait_idle(WITHIN_S)
    return mine


def test_w17_all_threads_of_a_flood_end_when_they_have_been_idle():
    threads = Threads(idle_s=0.01)
    for one in busy(threads, 100):
        one.join(WITHIN_S)
        assert not one.is_alive()
    assert len(busy(threads, 3)) == 3


def test_w17_a_few_calls_after_a_flood_do_not_keep_its_threads():
    threads = Threads(idle_s=0.2)
    flood = busy(threads, 20)
    for _ in range(1_000_000):
        busy(threads, 1)
        if sum(thread.is_alive() for thread in flood) <= 1:
            return
    pytest.fail("they are still there")


def test_an_idle_thread_is_used_again():
    threads = Threads(idle_s=WITHIN_S)
    (first,) = busy(threads, 1)
    assert [busy(threads, 1) for _ in range(5)] == [[first]] * 5


def test_a_thread_that_cannot_be_made_is_an_error_and_no_work_is_counted(monkeypatch):
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads = Threads()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            threads.run(lambda: None)
    threads.wait_idle(0)
    assert len(busy(threads, 2)) == 2


@pytest.mark.parametrize("error", [ValueError("canary-4711"), SystemExit("canary-4711")])
def test_work_that_raises_is_over_and_its_thread_is_used_again(error, caplog, capfd):
    def work() -> None:
        raise error

    threads = Threads(idle_s=WITHIN_S)
    (first,) = busy(threads, 1)
    threads.run(work)
    with threads._changed:
        assert threads._changed.wait_for(lambda: not threads._busy, WITHIN_S)
    assert busy(threads, 1) == [first]
    assert type(error).__name__ in caplog.text
    assert "canary" not in f"{caplog.text}{capfd.readouterr()}"
