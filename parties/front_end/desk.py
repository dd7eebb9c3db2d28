"""What the servicers need from the query half of a front end; queries.py fulfils it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import grpc

from privedge.identity.roles import Identity
from privedge.wire import party_pb2 as pb
from privedge.wire import peer_pb2


@dataclass(frozen=True)
class QueryCounters:
    """Counters since start, for operators."""

    answered: int
    failed: int
    running: int
    bytes_received: int
    worker_pids: tuple[int, ...]


class QueryDesk(Protocol):
    """Where queries are taken in. Sees one share of each query and of each answer."""

    def answer(
        self,
        request_iterator: Iterator[pb.QueryRequest],
        caller: Identity,
        context: grpc.ServicerContext,
    ) -> Iterator[pb.QueryResponse]:
        """Read one query stream to its end and give the answer stream. Raises what it refuses."""
        ...

    def start(self, order: peer_pb2.StartQueryRequest) -> None:
        """Party 1 only: begin the query that party 0 orders. Raises what it refuses."""
        ...

    def counters(self) -> QueryCounters:
        """The counters as they are now."""
        ...
