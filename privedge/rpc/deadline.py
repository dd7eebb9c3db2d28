"""Deadlines: the moment by which a piece of work must be done, passed on from call to call."""

import time
from dataclasses import dataclass

import grpc

from privedge.errors import DeadlineExceeded


@dataclass(frozen=True)
class Deadline:
    """`at` is in seconds of this process's monotonic clock."""

    at: float

    @staticmethod
    def after(seconds: float) -> "Deadline":
        """Return the deadline that many seconds from now."""
        return Deadline(time.monotonic() + seconds)

    @staticmethod
    def of(context: grpc.ServicerContext, *, at_most_s: float) -> "Deadline":
        """Return the caller's own deadline, or `at_most_s` from now if that is earlier."""
        theirs = context.time_remaining()
        return Deadline.after(at_most_s if theirs is None else min(theirs, at_most_s))

    def remaining(self) -> float:
        """Return the seconds left. Raises DeadlineExceeded if there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("the deadline passed")
        return left
