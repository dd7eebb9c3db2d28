"""What a group of operators, clients and owners makes of the answer shares that it is shown.

A choice ends a query: each owner's share of the answer is an entry of a table of the dealer's, at a
place that tells how many comparisons this owner failed (docs/protocol.md#choice). Whoever finds the
entry, and knows the mask of the place, has the order of all owners. So shares are released under a
sharing of zero before they leave. A group here is a party or the dealer, and a client.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from parties.mpc.dealing import TupleShares
from parties.mpc.fused.choice import Choice
from parties.mpc.tuples import TupleKind, logical_shift
from privedge_lab.reference.recording import Record
from privedge_lab.reference.run import Shares


@dataclass(frozen=True)
class GroupView:
    """What a group has of one query, int64.

    tuples: the shares that it can expand, of one party or of both, in order, by party.
    words: everything else that it sees or can compute, flat.
    index: what the last choice opened, (owners,), if a party is in the group.
    shown: both answer shares (owners,), which the client shows it.
    """

    tuples: Sequence[Sequence[tuple[TupleKind, TupleShares]]] = field(repr=False)
    words: torch.Tensor = field(repr=False)
    index: torch.Tensor | None = field(repr=False)
    shown: Shares = field(repr=False)

    @property
    def known(self) -> torch.Tensor:
        """All words of the group, flat: also those of every table of every tuple."""
        drawn = [
            part.reshape(-1)
            for of_party in self.tuples
            for _, shares in of_party
            for part in (*shares.free, *shares.derived)
        ]
        return torch.cat([self.words, *drawn])


def of_dealer(views: tuple[Record, Record], shown: Shares) -> GroupView:
    """The dealer and the client. The dealer expands both seeds; it sees no message."""
    nothing = torch.empty(0, dtype=torch.int64)
    return GroupView([view.tuples for view in views], nothing, None, shown)


def of_party(view: Record, inner: torch.Tensor, shown: Shares) -> GroupView:
    """One party and the client. `inner`: its own answer share before the release."""
    parts = [inner.reshape(-1)]
    for sent, received in zip(view.sent, view.received, strict=True):
        mine, theirs = sent.reshape(-1), received.reshape(-1)
        parts += [mine, theirs, mine + theirs, mine ^ theirs]
    index = (view.sent[-1] + view.received[-1]).reshape(-1)
    return GroupView([view.tuples], torch.cat(parts), index, shown)


def recognised(view: GroupView) -> torch.Tensor:
    """Which of the shown words, (2, owners) of bool, the group has or can compute. A party's own
    answer share is no finding, so of a party's group the row is True only for the other's words.
    """
    shown = torch.stack([share.reshape(-1) for share in view.shown])
    return torch.isin(shown, view.known)


def order(view: GroupView) -> list[int]:
    """The group's best guess of the owners' order, the nearest first: by how many comparisons each
    failed. Of an owner about whom it has found nothing, the place is what its own words say.
    """
    kind = view.tuples[0][-1][0]
    if not isinstance(kind, Choice) or kind.values:
        raise ValueError("the order of more than 16 owners is in several choices")
    bits = kind.bits
    drawn = [of_party[-1][1] for of_party in view.tuples]
    mask = torch.stack([shares.free[0] for shares in drawn]).sum(0)
    # c = (index << 64 - bits) + r, and the entry is at the top bits of c.
    opened = torch.zeros_like(mask) if view.index is None else view.index
    place = logical_shift(opened, 64 - bits)
    for shares, shown in zip(drawn, view.shown, strict=False):
        found = shares.derived[0] == shown.reshape(1, -1)
        place = torch.where(found.any(0), found.long().argmax(0), place)
    failed = (place - logical_shift(mask, 64 - bits)) % (1 << bits)
    return [int(owner) for owner in failed.argsort(stable=True)]
