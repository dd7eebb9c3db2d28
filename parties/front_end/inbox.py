"""Party 1's inbox: queries that wait for party 0's order, and orders that wait for their query.

A client sends its two halves at the same time, so either may be first. Both waits are bounded.
"""

import threading
from dataclasses import dataclass

import grpc

from privedge.errors import ManifestMismatch, OutOfTime, Refused, Unreachable
from privedge.rpc.deadline import Deadline
from privedge.sharing.question import Question
from privedge.wire import peer_pb2 as pb

# How long an order waits for the client's other half.
_HALF_S = 10.0


@dataclass
class _Waiting:
    question: Question
    order: pb.StartQueryRequest | None = None
    refused: Refused | None = None


class Inbox:
    """Pairs questions and orders by query id."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, _Waiting] = {}

    def wait(
        self, question: Question, deadline: Deadline, context: grpc.ServicerContext
    ) -> pb.StartQueryRequest:
        """Wait for the order of this question.

        Raises OutOfTime if none comes, ManifestMismatch if party 0 has another question or
        snapshot, Unreachable when the client leaves.
        """
        entry = _Waiting(question)

        def give_up() -> None:
            with self._changed:
                entry.refused = Unreachable("the client left")
                self._changed.notify_all()

        with self._changed:
            self._waiting[question.query_id] = entry
            self._changed.notify_all()
        try:
            if not context.add_callback(give_up):
                give_up()
            with self._changed:
                self._changed.wait_for(lambda: entry.order or entry.refused, deadline.remaining())
                if entry.refused is not None:
                    raise entry.refused
                if entry.order is None:
                    raise OutOfTime("party 0 did not order this query")
                return entry.order
        finally:
            with self._changed:
                self._waiting.pop(question.query_id, None)

    def order(self, order: pb.StartQueryRequest) -> None:
        """Give an order to the query it is for; refuses, at both ends, one that does not fit.

        Raises OutOfTime if the client's half does not come, ManifestMismatch.
        """
        query_id = order.query_id.hex()
        with self._changed:
            self._changed.wait_for(lambda: query_id in self._waiting, _HALF_S)
            entry = self._waiting.get(query_id)
            if entry is None:
                raise OutOfTime(f"query {query_id}: its other half did not arrive")
            asked = entry.question
            fits = (asked.digest(), asked.snapshot_id) == (order.header_sha256, order.snapshot_id)
            if fits:
                entry.order = order
            else:
                entry.refused = _mismatch(query_id)
            self._changed.notify_all()
        if not fits:
            raise _mismatch(query_id)


def _mismatch(query_id: str) -> ManifestMismatch:
    return ManifestMismatch(f"query {query_id}: its two halves differ in shape, question or cohort")
