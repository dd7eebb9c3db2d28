"""The requests of one call as a servicer reads them: the first in time, and every one parsed."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from privedge.errors import ShareError
from privedge.rpc.time_limit import given_up_after


class _Unparsed:
    """A marker for a request whose bytes do not parse as its message."""


def lenient(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """Defer a parse error until the gate can answer it: gRPC itself would answer INTERNAL."""
    if parse is None:
        return None

    def parse_or_mark(raw: bytes) -> Any:
        try:
            return parse(raw)
        except Exception:  # protobuf's own kinds; their texts may quote the bytes, so drop them
            return _Unparsed()

    return parse_or_mark


class Requests:
    """A call's requests. The call is cancelled if the first one is late, and ShareError raised for
    one that does not parse.
    """

    def __init__(
        self, requests: Iterator[Any], context: grpc.ServicerContext, first_s: float | None
    ) -> None:
        self._requests, self._context, self._first_s = requests, context, first_s

    def __iter__(self) -> "Requests":
        return self

    def __next__(self) -> Any:
        if self._first_s is None:
            request = next(self._requests)
        else:
            with given_up_after(self._first_s, self._context):
                self._first_s = None
                request = next(self._requests)
        if isinstance(request, _Unparsed):
            raise ShareError("a request does not parse")
        return request

    def only(self) -> Any:
        """Return the request of a call that has one."""
        for request in self:
            return request
        raise ShareError("a request is missing")
