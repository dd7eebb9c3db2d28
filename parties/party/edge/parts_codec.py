"""Protobuf <-> the list of a cohort's models, in parts (peer.proto), pure. Public facts only."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

from parties.party.edge.codec import (
    MOST_IDS,
    MOST_LISTED,
    model_ref_from_wire,
    model_ref_to_wire,
    said_to_wire,
)
from parties.party.models.parts import MOST_PARTS, Listed, Parts, SaidParts
from parties.party.models.standing import Said
from parties.wire import peer_pb2
from privedge.errors import ShareError

_SHA256_BYTES = 32
# Models in one message.
_LISTED_AT_ONCE = 8192


def parts_to_wire(
    cohort: str, said: Said, parts: Parts, sent: Sequence[int], deleted: Collection[str]
) -> Iterator[peer_pb2.FollowActiveModelsRequest]:
    """A list of models: what it is in parts, then the models of the parts `sent`."""
    yield peer_pb2.FollowActiveModelsRequest(
        cohort=cohort,
        state=said_to_wire(said),
        parts=len(parts.digests),
        sent=sent,
        root=parts.root,
        deleted=sorted(deleted)[:MOST_IDS],
    )
    listed = parts.of(sent)
    while some := tuple(islice(listed, _LISTED_AT_ONCE)):
        yield peer_pb2.FollowActiveModelsRequest(models=map(_listed_to_wire, some))


def parts_from_wire(
    first: peer_pb2.FollowActiveModelsRequest,
    rest: Iterable[peer_pb2.FollowActiveModelsRequest],
) -> SaidParts:
    """Inverse, but for the cohort and what is deleted. Raises ShareError."""
    if not 1 <= first.parts <= MOST_PARTS or len(first.root) != _SHA256_BYTES:
        raise ShareError(f"a list has 1 to {MOST_PARTS} parts, and a root of {_SHA256_BYTES} bytes")
    sent = frozenset(numbers_from_wire(first.sent, first.parts))
    listed = list[Listed]()
    for message in rest:
        listed += map(_listed_from_wire, message.models)
        if len(listed) > MOST_LISTED:
            raise ShareError(f"a list has at most {MOST_LISTED} models")
    return SaidParts(first.parts, sent, first.root, tuple(listed))


def numbers_from_wire(numbers: Iterable[int], count: int) -> tuple[int, ...]:
    """Numbers of some of `count` parts. Raises ShareError for others, or if one comes twice."""
    found = tuple(numbers)
    if len(set(found)) != len(found) or max(found, default=0) >= count:
        raise ShareError("a list has no parts of these numbers")
    return found


def digests_from_wire(digests: Sequence[bytes]) -> Sequence[bytes]:
    """The digests of a list's parts. Raises ShareError."""
    if not 1 <= len(digests) <= MOST_PARTS or any(len(each) != _SHA256_BYTES for each in digests):
        raise ShareError(
            f"a list has 1 to {MOST_PARTS} parts, each with a digest of {_SHA256_BYTES} bytes"
        )
    return digests


def _listed_to_wire(listed: Listed) -> peer_pb2.ListedModel:
    return peer_pb2.ListedModel(model=model_ref_to_wire(listed.ref), quarantined=listed.quarantined)


def _listed_from_wire(message: peer_pb2.ListedModel) -> Listed:
    return Listed(model_ref_from_wire(message.model), message.quarantined)
