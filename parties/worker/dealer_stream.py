"""A worker's stream to the dealer: seeds, counters and shapes go up, corrections come down."""

from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

import grpc
import torch

from parties import tuple_codec
from parties.mpc.dealing import SessionId
from parties.mpc.tuples import TupleKind
from parties.wire import dealer_pb2 as pb
from parties.wire import dealer_pb2_grpc
from privedge import traces
from privedge.errors import TranscriptMismatch, Unreachable
from privedge.rpc import request_id
from privedge.rpc.channel import wait_connected
from privedge.rpc.deadline import Deadline
from privedge.rpc.status import calls_to


class DealerStream:
    """One session's stream: mpc.dealing.DealerLink."""

    def __init__(
        self,
        stub: dealer_pb2_grpc.DealerStub,
        run: SessionId,
        seed: bytes,
        deadline: Deadline,
        *,
        weight_seed: bytes = b"",
        went_well: Callable[[], object] = lambda: None,
    ) -> None:
        """Open the session. `went_well()` is called if it ends as both sides meant it to."""
        self.bytes_received = 0
        self._went_well = went_well
        self._outgoing: SimpleQueue[pb.DealRequest | None] = SimpleQueue()
        opening = pb.OpenSession(session=run.session, seed=seed, weight_seed=weight_seed)
        self._outgoing.put(pb.DealRequest(open=opening))
        self._call = stub.Deal(
            iter(self._outgoing.get, None),
            timeout=deadline.remaining(),
            metadata=(*request_id.passed_on(), *traces.passed_on()),
        )
        self._parts = (part for response in self._call for part in response.parts)

    def request(self, tuples: list[tuple[int, TupleKind]], *, last: bool = False) -> None:
        """Ask for corrections, without waiting for them."""
        requests = [tuple_codec.to_wire(counter, kind) for counter, kind in tuples]
        self._outgoing.put(pb.DealRequest(tuples=pb.TupleRequests(tuples=requests)))
        if last:
            # So the dealer ends the session with its last correction, and nobody waits for that.
            self._outgoing.put(None)

    def receive(self, counter: int) -> torch.Tensor:
        """Wait for the next correction, flat int64.

        Raises Unreachable, DeadlineExceeded, or TranscriptMismatch if it is another one.
        """
        received = bytearray()
        with calls_to("the dealer"):
            for part in self._parts:
                if part.counter != counter:
                    raise TranscriptMismatch(f"correction {part.counter} came for {counter}")
                received += part.words
                if part.last:
                    break
            else:
                raise Unreachable("the dealer ended the session")
        self.bytes_received += len(received)
        return torch.frombuffer(received, dtype=torch.int64)

    def finish(self) -> None:
        """End a session that went well, and wait until the dealer has ended it too."""
        self._outgoing.put(None)
        with suppress(grpc.RpcError):
            for _ in self._call:
                pass
            self._went_well()

    def abandon(self) -> None:
        """End the session at once, whatever the dealer does."""
        self._outgoing.put(None)
        self._call.cancel()


class DealerLine:
    """A worker's channel to the dealer. Safe to call from several threads."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._stub = dealer_pb2_grpc.DealerStub(channel)
        self._well = False

    def open(
        self, run: SessionId, seed: bytes, deadline: Deadline, *, weight_seed: bytes
    ) -> DealerStream:
        """Open a session. Raises Unreachable."""
        # Asking gRPC for the state of a channel costs a thread. After a session that went well it
        # is connected, or gRPC tries that at once.
        if not self._well:
            wait_connected(self._channel, "the dealer")
        self._well = False
        return DealerStream(
            self._stub, run, seed, deadline, weight_seed=weight_seed, went_well=self._went_well
        )

    def _went_well(self) -> None:
        self._well = True
