"""The list of a cohort's models in use, cut into parts that two parties compare by digests. Pure.

A part is a range of model ids. Ids are uniformly random and never change, so parts are of about the
same size, and a model that comes or goes changes one of them. Public facts only; peer.proto has the
form of the digests.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from parties.party.models.cohorts import ModelRef

# About so many models are in a part.
PART_MODELS = 4096
MOST_PARTS = 1 << 16
_DOMAIN = b"privedge models v1\n"
_ID_BITS = 128


@dataclass(frozen=True)
class Listed:
    """One model of the list. quarantined: it is in use, and left out of queries for now."""

    ref: ModelRef
    quarantined: bool = False


@dataclass(frozen=True)
class SaidParts:
    """What party 0 says of its list: how many parts there are, those that it sends, the root of
    all, and the models of those parts.
    """

    count: int
    sent: frozenset[int]
    root: bytes
    listed: tuple[Listed, ...]


def parts_for(models: int) -> int:
    """How many parts a list of so many models has: a power of two, so that it rarely changes."""
    wanted = -(-models // PART_MODELS)
    return min(MOST_PARTS, 1 << max(0, wanted - 1).bit_length())


class Parts:
    """A list in so many parts."""

    def __init__(self, listed: Iterable[Listed], count: int) -> None:
        """`count` is at least 1. Every model has an id of 32 hexadecimal digits."""
        self._parts: list[list[Listed]] = [[] for _ in range(count)]
        for each in sorted(listed, key=lambda each: each.ref.model_id):
            self._parts[int(each.ref.model_id, 16) * count >> _ID_BITS].append(each)
        self.digests = tuple(map(_digest, self._parts))

    @property
    def root(self) -> bytes:
        """SHA-256 over the digests of all parts."""
        return hashlib.sha256(b"".join(self.digests)).digest()

    def differing(self, others: Sequence[bytes]) -> tuple[int, ...]:
        """Numbers of the parts whose digests are others, of as many parts."""
        pairs = enumerate(zip(self.digests, others, strict=True))
        return tuple(number for number, (mine, theirs) in pairs if mine != theirs)

    def of(self, numbers: Iterable[int]) -> Iterator[Listed]:
        """The models of these parts."""
        for number in numbers:
            yield from self._parts[number]

    def but(self, numbers: Collection[int]) -> Iterator[Listed]:
        """The models of all other parts."""
        return self.of(number for number in range(len(self._parts)) if number not in numbers)


def _digest(part: Iterable[Listed]) -> bytes:
    found = hashlib.sha256(_DOMAIN)
    for each in part:
        ref, state = each.ref, "quarantined" if each.quarantined else "active"
        line = f"{ref.model_id} {ref.manifest_digest} {ref.version or '-'} {state}\n"
        found.update(line.encode())
    return found.digest()
