"""Ends a call whose peer takes too long: it may trickle, stop, or set no deadline of its own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc

T = TypeVar("T")


@contextmanager
def given_up_after(seconds: float, context: grpc.ServicerContext) -> Iterator[None]:
    """Cancel the call if the block takes longer."""
    timer = threading.Timer(seconds, context.cancel)
    timer.daemon = True  # so that a slow peer cannot keep the process from ending
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def timely(requests: Iterator[T], seconds: float, context: grpc.ServicerContext) -> Iterator[T]:
    """All of `requests`; the call is cancelled if the last has not come that long after the first
    was asked for.
    """
    with given_up_after(seconds, context):
        yield from requests
