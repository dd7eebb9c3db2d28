"""What the parts of a front end that serve queries need of each other."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import grpc

from parties.party.queries.pending import PendingQuery
from parties.party.workers.processes import AnswerBytes
from privedge.identity.roles import Identity
from privedge.wire import party_pb2 as pb
from privedge.wire import peer_pb2


@dataclass(frozen=True)
class QueryCounters:
    """Counters since start, for operators."""

    answered: int
    failed: int
    running: int
    runs: int
    bytes_received: int
    worker_pids: tuple[int, ...]


class QueryDesk(Protocol):
    """Where queries are taken in: queries.py. Sees one share of each query and of each answer."""

    def answer(
        self,
        request_iterator: Iterator[pb.QueryRequest],
        caller: Identity,
        context: grpc.ServicerContext,
    ) -> Iterator[pb.QueryResponse]:
        """Read one query stream to its end and give the answer stream. Raises what it refuses."""
        ...

    def counters(self) -> QueryCounters:
        """The counters as they are now."""
        ...


class Side(Protocol):
    """What a query is handed to when all of it is there: leader.py, follower.py."""

    def answer(self, asked: PendingQuery) -> AnswerBytes:
        """Wait for the answer share. Raises what the query ends with."""
        ...


class Ordered(Protocol):
    """Party 1's part as party 0 sees it: follower.py. Ids and digests only."""

    def order(self, order: peer_pb2.StartRunRequest) -> list[bytes]:
        """Begin a run, or return the ids of the queries that are not here."""
        ...

    def refuse(self, query_id: bytes) -> None:
        """Refuse a query of which party 0 holds another half."""
        ...

    def changes(self, context: grpc.ServicerContext) -> Iterator[peer_pb2.HalvesChange]:
        """What is here, and every change, until the caller leaves."""
        ...
