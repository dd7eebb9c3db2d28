"""Compute the tail on one thread. Sees activations in the clear, and keeps none."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from dataclasses import dataclass, field

import torch

from privedge.errors import DeadlineExceeded, ShareError
from privedge.rpc.deadline import Deadline
from privedge_lab.baseline.codec import Floats
from privedge_lab.baseline.model_file import Tail


@dataclass(frozen=True)
class Predicted:
    """Logits (batch, classes), the seconds they waited for the processor, and the total seconds."""

    logits: Floats = field(repr=False)
    queue_s: float
    online_s: float


class Job:
    """A queued batch. `cancel` removes it from the queue if it has not begun."""

    def __init__(self, future: "Future[Predicted]") -> None:
        self._future = future

    def cancel(self) -> None:
        """Cancel the job, for its caller has left. If it has begun, it goes on to its end."""
        self._future.cancel()

    def result(self, deadline: Deadline) -> Predicted:
        """Wait for the result. Raises DeadlineExceeded, or ShareError if it is not finite."""
        try:
            return self._future.result(timeout=deadline.remaining())
        except TookTooLong:
            self._future.cancel()
            raise DeadlineExceeded("the processor was busy for too long") from None


class Predictor:
    """Compute batches one after the other. Thread-safe; use as a context manager.

    All batches run on one thread, because torch gives each calling thread its own set of threads,
    and there may be one caller for each connection.
    """

    def __init__(self, tail: Tail) -> None:
        self._layers = tail.layers
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tail")

    def __enter__(self) -> "Predictor":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def start(self, activations: Floats) -> Job:
        """Queue activations float32 (batch, *sent_shape)."""
        return Job(self._thread.submit(self._predict, activations, time.perf_counter()))

    def _predict(self, activations: Floats, arrived: float) -> Predicted:
        started = time.perf_counter()
        with torch.inference_mode():
            logits = self._layers(torch.from_numpy(activations))
        # Finite activations can be so large that a layer's sums are not finite.
        if not torch.isfinite(logits).all():
            raise ShareError("predict: activations too large for this network")
        return Predicted(logits.numpy(), started - arrived, time.perf_counter() - arrived)
