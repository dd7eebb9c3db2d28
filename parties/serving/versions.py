"""The message in which a party and the dealer tell each other their versions."""

from parties.wire import dealer_pb2 as pb
from privedge.rpc.versions import Versions, plain


def to_wire(versions: Versions) -> pb.DealerTerms:
    """Return the message."""
    return pb.DealerTerms(release=versions.release, wire=versions.wire, mpc=versions.mpc)


def from_wire(message: pb.DealerTerms) -> Versions:
    """What the other side said, made harmless to show."""
    return Versions(plain(message.release), message.wire, message.mpc)
