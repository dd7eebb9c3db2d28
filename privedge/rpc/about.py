"""What a server says of itself to everybody: its versions and its clock (about.proto)."""

import time
from dataclasses import dataclass

import grpc

from privedge.errors import DeadlineExceeded, Unreachable
from privedge.rpc import versions
from privedge.rpc.status import calls_to
from privedge.rpc.versions import Versions, plain
from privedge.wire import about_pb2 as pb
from privedge.wire import about_pb2_grpc

# How long to wait for an answer. A server that is not there is noticed at once.
ANSWER_S = 10.0
# Certificates and hints bear a clock that is so much ahead or behind, in seconds.
MOST_SKEW_S = 60.0


@dataclass(frozen=True)
class About:
    """One server's answer.

    versions: of its release. skew_s: how far its clock is ahead of this machine's, at least; 0 if
    the difference may be due to the time that the call took. Negative if it is behind.
    """

    versions: Versions
    skew_s: float

    def faults(self, *, computes: bool = True) -> tuple[str, ...]:
        """Versions that differ from this release's, and a clock that differs from this machine's:
        a line for each. `computes`: whether this side takes part in computations, as clients do
        not.
        """
        mine = Versions() if computes else Versions(mpc=self.versions.mpc)
        lines = versions.differences(mine, self.versions)
        if abs(self.skew_s) <= MOST_SKEW_S:
            return lines
        side = "ahead of" if self.skew_s > 0 else "behind"
        clock = f"clock: {abs(self.skew_s):.0f} s {side} this machine's; synchronise both"
        return (*lines, clock)


class AboutServicer(about_pb2_grpc.AboutServicer):
    """Answers for this process."""

    def Read(self, request: pb.AboutRequest, context: grpc.ServicerContext) -> pb.AboutResponse:
        """Its versions, and the time now."""
        mine = Versions()
        clock_ms = time.time_ns() // 1_000_000
        return pb.AboutResponse(
            release=mine.release, wire=mine.wire, mpc=mine.mpc, clock_ms=clock_ms
        )


def add_about(server: grpc.Server) -> None:
    """Let a server answer."""
    about_pb2_grpc.add_AboutServicer_to_server(AboutServicer(), server)


def ask(channel: grpc.Channel, peer: str, *, within_s: float = ANSWER_S) -> About:
    """Ask a server. Raises Refused, naming `peer`: Unreachable, or NotReady from one of an older
    release.
    """
    stub = about_pb2_grpc.AboutStub(channel)
    try:
        with calls_to(peer):
            sent = time.time()
            said = stub.Read(pb.AboutRequest(), timeout=within_s)
            received = time.time()
    except DeadlineExceeded:
        raise Unreachable(
            f"{peer}: has not answered for {within_s:.0f} s; check the address, the network and "
            "firewalls, and that it is not frozen"
        ) from None
    there = said.clock_ms / 1000
    ahead, behind = max(there - received, 0.0), min(there - sent, 0.0)
    return About(Versions(plain(said.release), said.wire, said.mpc), ahead or behind)
