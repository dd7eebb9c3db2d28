"""A worker's stream to the dealer: seeds, counters and shapes go up, corrections come down."""

from contextlib import suppress
from queue import SimpleQueue

import grpc
import torch

from parties import tuple_codec
from privedge.errors import TranscriptMismatch, Unreachable
from privedge.mpc.dealing import SessionId
from privedge.mpc.tuples import TupleKind
from privedge.rpc.deadline import Deadline
from privedge.rpc.status import calls_to
from privedge.wire import dealer_pb2 as pb
from privedge.wire import dealer_pb2_grpc


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
    ) -> None:
        self.bytes_received = 0
        self._outgoing: SimpleQueue[pb.DealRequest | None] = SimpleQueue()
        opening = pb.OpenSession(session=run.session, seed=seed, weight_seed=weight_seed)
        self._outgoing.put(pb.DealRequest(open=opening))
        self._call = stub.Deal(iter(self._outgoing.get, None), timeout=deadline.remaining())

    @staticmethod
    def on(
        channel: grpc.Channel,
        run: SessionId,
        seed: bytes,
        deadline: Deadline,
        *,
        weight_seed: bytes,
    ) -> "DealerStream":
        """Open a session on a channel to the dealer."""
        stub = dealer_pb2_grpc.DealerStub(channel)
        return DealerStream(stub, run, seed, deadline, weight_seed=weight_seed)

    def request(self, tuples: list[tuple[int, TupleKind]]) -> None:
        """Ask for corrections, without waiting for them."""
        requests = [tuple_codec.to_wire(counter, kind) for counter, kind in tuples]
        self._outgoing.put(pb.DealRequest(tuples=pb.TupleRequests(tuples=requests)))

    def receive(self, counter: int) -> torch.Tensor:
        """Wait for the next correction, flat int64.

        Raises Unreachable, DeadlineExceeded, or TranscriptMismatch if it is another one.
        """
        received = bytearray()
        with calls_to("the dealer"):
            for response in self._call:
                if response.counter != counter:
                    raise TranscriptMismatch(f"correction {response.counter} came for {counter}")
                received += response.words
                if response.last:
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

    def abandon(self) -> None:
        """End the session at once, whatever the dealer does."""
        self._outgoing.put(None)
        self._call.cancel()
