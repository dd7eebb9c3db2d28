"""Ask both parties what a cohort is, and one of them for the names of its owners. Public facts."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from privedge.client.cohort import Cohort
from privedge.client.exchange import Party
from privedge.errors import ManifestMismatch, NotReady, SnapshotChanged
from privedge.identity.owners import MOST_OWNERS, owners_sha256
from privedge.identity.roles import OWNER_NAME
from privedge.ran.any_spec import spec_from_json
from privedge.rpc import codec
from privedge.wire import party_pb2 as pb

# While models change the parties describe a cohort differently for a moment: they are asked again
# after these pauses.
_DIFFER_S = (0.1, 0.3, 0.6, 1.2, 0.0)

# Makes a call to a party, as often as the client's patience lets it.
Told = Callable[[Party, Callable[..., Any], Any], Any]


def described(parties: Sequence[Party], cohort: str, told: Told, *, again: bool) -> Cohort:
    """What both parties say of a cohort. `again`: whether to ask again while they differ.

    Raises what Client.describe does.
    """
    for pause_s in _DIFFER_S if again else _DIFFER_S[-1:]:
        try:
            return _agreed(parties, cohort, told)
        except (ManifestMismatch, SnapshotChanged):
            if not pause_s:
                raise
        time.sleep(pause_s)
    raise AssertionError("unreachable")


def _agreed(parties: Sequence[Party], cohort: str, told: Told) -> Cohort:
    request = pb.DescribeCohortRequest(cohort=codec.cohort_asked(cohort), names_apart=True)
    said = [told(party, party.stub.DescribeCohort, request) for party in parties]
    names = [_names_taken(each) for each in said]
    if said[0] != said[1]:
        raise ManifestMismatch(
            f"cohort {cohort}: the parties describe it differently; try again in a moment, "
            "and tell both operators if it stays so"
        )
    if not said[0].owner_count:
        raise NotReady(f"cohort {cohort}: no active model yet; upload one first")
    owners = names[0] or names[1] or _names(parties[0], cohort, said[0], told)
    if wrong := [each for each in owners if not OWNER_NAME.fullmatch(each)]:
        raise ManifestMismatch(
            f"cohort {cohort}: {ascii(wrong[0])[:80]} is no name of an owner, so answers would "
            "mislead; tell both operators"
        )
    return _cohort(cohort, said[0], owners)


def _names_taken(said: pb.DescribeCohortResponse) -> tuple[str, ...]:
    """The names, which an older release tells at once; afterwards both releases say the same."""
    names = tuple(said.owners)
    if not said.owners_sha256:
        said.owner_count, said.owners_sha256 = len(names), owners_sha256(names)
    said.ClearField("owners")
    return names


def _names(
    party: Party, cohort: str, said: pb.DescribeCohortResponse, told: Told
) -> tuple[str, ...]:
    """The names in pages, from one party: both have said the digest of them all."""
    names = list[str]()
    while len(names) < min(said.owner_count, MOST_OWNERS):
        request = pb.ListOwnersRequest(
            cohort=cohort, snapshot_id=said.snapshot_id, start=len(names)
        )
        page = told(party, party.stub.ListOwners, request).owners
        if not page:
            break
        names += page
    if len(names) != said.owner_count or owners_sha256(names) != said.owners_sha256:
        raise ManifestMismatch(
            f"cohort {cohort}: {party.name} does not tell the names that both parties have; ask "
            "again, and tell both operators if it stays so"
        )
    return tuple(names)


def _cohort(name: str, said: pb.DescribeCohortResponse, owners: tuple[str, ...]) -> Cohort:
    return Cohort(
        name=name,
        spec=spec_from_json(said.spec_json),
        margin=said.margin,
        owners=owners,
        snapshot_id=said.snapshot_id,
        max_batch=max(1, said.max_batch),
        mean_share=said.mean_share,
        rivals=said.rivals,
        rivals_sha256=said.rivals_sha256,
        public_owners=said.public_owners,
        word_bits=codec.bits_from_wire(said.word_bits, f"cohort {name}"),
    )
