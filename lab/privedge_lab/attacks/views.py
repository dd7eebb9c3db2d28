"""What each adversary sees, as a type: an attack takes one View and nothing else.

The split server is honest but curious and always has what was sent and the network's shape. He et
al. 2019 tell it apart by what else it has; the bipartite model of Chi et al. 2018 (trusted device,
untrusted remote side) is the same server, after a private attribute instead of the image.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from privedge_lab.baseline.defence import Defence
from privedge_lab.datasets import Labelled
from privedge_lab.disguise.settings import Sized

Ask = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class WhiteBoxView:
    """Knows the head's parameters and the defence's kind and settings, but no device's key."""

    sent: torch.Tensor
    head: nn.Sequential
    image_shape: tuple[int, int, int]
    defence: Defence


@dataclass(frozen=True)
class BlackBoxView:
    """Has `known` images and a device of its own: `ask` is head and defence of that one."""

    sent: torch.Tensor
    ask: Ask
    known: Labelled


@dataclass(frozen=True)
class QueryFreeView:
    """Has its own tail and `known` images; the head's shape is known, its parameters are not."""

    sent: torch.Tensor
    tail: nn.Sequential
    known: Labelled


@dataclass(frozen=True)
class AttributeView:
    """Wants a private attribute of each image behind `sent`, whose `known` counterparts it made.

    `known_sent` (m, ...) is what a device of its own sends for images whose attribute it knows,
    `known_attribute` int64 (m,). Chi et al.'s untrusted remote side
    (docs/explanation/references.md#privacy-partitioning).
    """

    sent: torch.Tensor
    known_sent: torch.Tensor
    known_attribute: torch.Tensor


@dataclass(frozen=True)
class PartyView:
    """One of the two parties of private prediction: all it holds and sees of n private queries.

    All int64 words. Of each query: `image_share` (n, *input_shape) and `answer_share` (n, owners),
    its shares; `seeds` (n, 4), what its masks are expanded from; `masks` (n, words), its shares of
    the dealer's tuples, in order; `sent` and `received` (n, words), every exchange with the other
    party, in order. Of the snapshot: `weights`, its share of every model, and `masked_weights`,
    which were opened once. A recording may have been told to keep the first words of each tuple
    and exchange only.
    """

    party: int
    weights: Mapping[str, torch.Tensor] = field(repr=False)
    masked_weights: Mapping[str, torch.Tensor] = field(repr=False)
    image_share: torch.Tensor = field(repr=False)
    answer_share: torch.Tensor = field(repr=False)
    seeds: torch.Tensor = field(repr=False)
    masks: torch.Tensor = field(repr=False)
    sent: torch.Tensor = field(repr=False)
    received: torch.Tensor = field(repr=False)


@dataclass(frozen=True)
class DisguisedView:
    """Level 1 of Sharma & Chen: disguised images, how but not by which key, and the domain.

    `disguised` (n, C, H', W') are what a server gets to train on or to answer; `public` are plain
    images of the same kind, other ones, with labels.
    """

    disguised: torch.Tensor
    sized: Sized
    public: Labelled


@dataclass(frozen=True)
class KnownPairsView:
    """Level 2: also `known` images (m, C, H, W) with their disguised ones (m, C, H', W')."""

    disguised: torch.Tensor
    sized: Sized
    known: torch.Tensor
    known_disguised: torch.Tensor


@dataclass(frozen=True)
class DisguisedNetworkView:
    """Has the network that was trained on disguised images, and plain images of the same kind."""

    network: nn.Sequential
    sized: Sized
    public: Labelled


@dataclass(frozen=True)
class AnswersView:
    """A client of the private service, who sees answers only (Choquette-Choo et al. 2021).

    `right` bool (n, copies): whether each copy of an image was answered with the name of the owner
    in question. `known_right` (m, copies) and `known_members` bool (m,): the same from a cohort
    that the client trained itself, so that it knows which images were trained on.
    """

    right: torch.Tensor
    known_right: torch.Tensor
    known_members: torch.Tensor
