"""Run worker processes in parallel. They read and write one JSON object per line, without pickle.

A worker imports the module it is started for, and answers each request by that module's
`answered(request, tell)`. Before it answers, it can `tell` any number of objects, such as its
progress. Each worker computes on one thread, so n workers use n cores, and results do not depend on
n.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, NoReturn, TypeVar

from privedge.errors import PrivEdgeError, TrainingError

Message = dict[str, Any]
Tell = Callable[[Message], None]
T = TypeVar("T")
Told = Callable[[T, Message], None]
# Called with (name, request) pairs, and perhaps a Told.
Ask = Callable[..., Generator[tuple[T, Message], None, None]]

_ENDED = "a worker process of this command ended too early (killed, or out of memory?)"
_TERMINATED = 128 + signal.SIGTERM
# A worker that is told to end finishes the current operation and removes half-written files.
_ENDING_S = 5.0


@contextmanager
def started(count: int, module: str) -> Iterator[Ask[Any]]:
    """Start `count` workers for `module`; yield a function from requests to answers.

    The function accepts (name, request) pairs, and yields (name, answer) pairs as they are ready.
    Its second argument, if given, is called in the caller's thread with (name, object) for each
    object that a worker tells. It raises TrainingError with a worker's own message if that worker
    could not answer. Leaving the block ends all workers.
    """
    pool = _Pool()
    try:
        for _ in range(count):
            pool.start(module)
        yield pool.ask
    finally:
        pool.end()


class _Pool:
    def __init__(self) -> None:
        self._all: list[_Worker] = []
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._threads: list[ThreadPoolExecutor] = []

    def start(self, module: str) -> None:
        self._all.append(_Worker(module))
        self._idle.put(self._all[-1])

    def ask(
        self, requests: Sequence[tuple[T, Message]], told: Told[T] | None = None
    ) -> Generator[tuple[T, Message], None, None]:
        threads = ThreadPoolExecutor(max(1, len(self._all)))
        self._threads.append(threads)
        events: SimpleQueue[tuple[T, Message | Future[Message]]] = SimpleQueue()
        for name, request in requests:
            future = threads.submit(self._one, request, partial(_put, events, name))
            future.add_done_callback(partial(_put, events, name))
        left = len(requests)
        while left:
            name, event = events.get()
            if isinstance(event, Future):
                left -= 1
                yield name, event.result()
            elif told is not None:
                told(name, event)

    def _one(self, request: Message, told: Callable[[Message], None]) -> Message:
        worker = self._idle.get()
        try:
            return worker.answer(request, told)
        finally:
            self._idle.put(worker)

    def end(self) -> None:
        # Do not wait for the threads yet: one that waits for an answer goes on only when its worker
        # has ended.
        for threads in self._threads:
            threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._all:
            worker.terminate()
        for worker in self._all:
            worker.end()
        for threads in self._threads:
            threads.shutdown(wait=True)


def _put(events: SimpleQueue[Any], name: object, event: object) -> None:
    events.put((name, event))


class _Worker:
    def __init__(self, module: str) -> None:
        code = "import sys; from privedge.child_processes import serve; serve(sys.argv[1])"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            # Ctrl-C is for the parent process alone, which then ends its workers.
            start_new_session=True,
        )

    def answer(self, request: Message, told: Callable[[Message], None]) -> Message:
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101 - PIPE
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise TrainingError(_ENDED) from None
        for line in self._process.stdout:
            if not line.endswith("\n"):
                break
            found: Message = json.loads(line)
            if "error" in found:
                raise TrainingError(found["error"])
            if "answer" in found:
                answer: Message = found["answer"]
                return answer
            told(found["told"])
        raise TrainingError(_ENDED)

    def terminate(self) -> None:
        self._process.terminate()

    def end(self) -> None:
        try:
            self._process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def serve(module: str) -> None:
    """Answer requests on standard input until it ends: this is all that a worker does."""
    import importlib

    signal.signal(signal.SIGTERM, _leave)
    answered = importlib.import_module(module).answered
    if "torch" in sys.modules:  # torch does not go by OMP_NUM_THREADS alone
        sys.modules["torch"].set_num_threads(1)
    for line in sys.stdin:
        try:
            _say({"answer": answered(json.loads(line), lambda message: _say({"told": message}))})
        except PrivEdgeError as error:
            _say({"error": str(error)})


def _say(message: Message) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _leave(*_: object) -> NoReturn:
    # By default a process would end at once; this way it removes the files it is writing.
    sys.exit(_TERMINATED)
