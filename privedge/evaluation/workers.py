"""Processes that measure side by side: one JSON object a line in, one out. No pickle.

A worker imports the module it is started for and answers each request by that module's `answered`.
Each computes on one thread, so that n of them use n cores and figures do not depend on n.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

from privedge.errors import PrivEdgeError, TrainingError

Message = dict[str, Any]
T = TypeVar("T")
Ask = Callable[[Sequence[tuple[T, Message]]], Iterator[tuple[T, Message]]]


@contextmanager
def started(count: int, module: str) -> Iterator[Ask[Any]]:
    """`count` workers for `module`; called with (name, request) pairs, gives (name, answer) pairs.

    Answers come as they are ready. Raises TrainingError with a worker's own message if it could not
    answer, and ends all workers when the block is left.
    """
    workers = [_Worker(module) for _ in range(count)]
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def one(request: Message) -> Message:
        worker = idle.get()
        try:
            return worker.answer(request)
        finally:
            idle.put(worker)

    threads = ThreadPoolExecutor(max(1, count))

    def ask(requests: Sequence[tuple[T, Message]]) -> Iterator[tuple[T, Message]]:
        running = {threads.submit(one, request): name for name, request in requests}
        for done in as_completed(running):
            yield running[done], done.result()

    try:
        yield ask
    finally:
        # A thread that waits for an answer goes on when its worker has ended.
        threads.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.end()
        threads.shutdown(wait=True)


class _Worker:
    def __init__(self, module: str) -> None:
        code = "import sys; from privedge.evaluation.workers import serve; serve(sys.argv[1])"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            # Ctrl-C is for whoever asked: that process ends the workers.
            start_new_session=True,
        )

    def answer(self, request: Message) -> Message:
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101 - PIPE
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise TrainingError("a measuring process ended too early") from None
        line = self._process.stdout.readline()
        if not line:
            raise TrainingError("a measuring process ended too early")
        found: Message = json.loads(line)
        if "error" in found:
            raise TrainingError(found["error"])
        return found

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def serve(module: str) -> None:
    """A worker's life: answer what comes on standard input until it ends."""
    import importlib

    import torch

    torch.set_num_threads(1)
    answered = importlib.import_module(module).answered
    for line in sys.stdin:
        try:
            answer = answered(json.loads(line))
        except PrivEdgeError as error:
            answer = {"error": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
