"""Party 1's inbox: queries in full here that wait for party 0's order.

Party 0 watches it (WatchHalves) and orders only what it has seen here and holds itself.
"""

import threading
from collections.abc import Iterator, Sequence

import grpc

from parties.party.queries.pending import PendingQuery
from privedge.errors import ManifestMismatch
from privedge.wire import peer_pb2 as pb


class Inbox:
    """Queries by id, and what changed since party 0 was last told."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: dict[bytes, PendingQuery] = {}
        self._arrived: list[pb.Half] = []
        self._left: list[bytes] = []
        # Which watcher is the present one, and whether it still watches.
        self._watcher = 0
        self._watched = False

    def put(self, asked: PendingQuery) -> None:
        """Hold a query until it is claimed or removed."""
        with self._changed:
            self._held[bytes.fromhex(asked.id)] = asked
            if self._watched:
                self._arrived.append(_half(asked))
                self._changed.notify_all()

    def remove(self, asked: PendingQuery) -> None:
        """Its client has left. Fine if it was claimed."""
        with self._changed:
            held = self._held.pop(bytes.fromhex(asked.id), None)
            if held is not None and self._watched:
                self._left.append(bytes.fromhex(asked.id))
                self._changed.notify_all()

    def claim(self, wanted: Sequence[pb.Half]) -> tuple[list[PendingQuery], list[bytes]]:
        """Take all of `wanted` out, in order; or none, and return the ids that are not here.

        Raises ManifestMismatch, here and for each of the clients, if party 0 has another question,
        or would compute together what cannot be.
        """
        with self._changed:
            missing = [half.query_id for half in wanted if half.query_id not in self._held]
            if missing:
                return [], missing
            claimed = [self._held.pop(half.query_id) for half in wanted]
        same = all(
            half.header_sha256 == asked.question.digest()
            for half, asked in zip(wanted, claimed, strict=True)
        )
        if not same or len({asked.kind for asked in claimed}) != 1:
            for asked in claimed:
                asked.settle(_mismatch(asked.id))
            raise ManifestMismatch("a run: the parties hold different questions")
        return claimed, []

    def refuse(self, query_id: bytes) -> None:
        """Party 0 holds another question of that id. Fine if the query is not here."""
        with self._changed:
            asked = self._held.get(query_id)
        if asked is not None:
            asked.settle(_mismatch(asked.id))

    def changes(self, context: grpc.ServicerContext) -> Iterator[pb.HalvesChange]:
        """What is here, at once; then every change, until the caller leaves or another comes."""
        with self._changed:
            self._watcher += 1
            self._watched = True
            mine = self._watcher
            self._arrived = [_half(asked) for asked in self._held.values()]
            self._left = []
            self._changed.notify_all()
            first = self._news()
        if context.add_callback(lambda: self._end(mine)):
            yield first
            yield from iter(lambda: self._next(mine), None)

    def close(self) -> None:
        """Let the watcher go: its call would keep the server from ending."""
        self._end(self._watcher)

    def _next(self, watcher: int) -> pb.HalvesChange | None:
        with self._changed:
            while self._watched and self._watcher == watcher:
                if self._arrived or self._left:
                    return self._news()
                self._changed.wait()
            return None

    def _news(self) -> pb.HalvesChange:
        change = pb.HalvesChange(arrived=self._arrived, left=self._left)
        self._arrived, self._left = [], []
        return change

    def _end(self, watcher: int) -> None:
        with self._changed:
            if self._watcher == watcher:
                self._watched = False
                # Nobody reads them: the next watcher starts from what is held.
                self._arrived, self._left = [], []
                self._changed.notify_all()


def _half(asked: PendingQuery) -> pb.Half:
    return pb.Half(query_id=bytes.fromhex(asked.id), header_sha256=asked.question.digest())


def _mismatch(query_id: str) -> ManifestMismatch:
    return ManifestMismatch(f"query {query_id}: its two halves differ in shape, question or cohort")
