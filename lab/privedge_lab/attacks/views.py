"""What each adversary sees, as a type. An attack accepts one View and nothing else.

The split server is honest-but-curious. It always has what was sent and the network's shape. He et
al. 2019 distinguish adversaries by what else the server has. The bipartite model of Chi et al. 2018
(trusted device, untrusted remote side) has the same server, but it wants a private attribute
instead of the image.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from privedge.sharing.ring import RING_BITS
from privedge_lab.baseline.defence import Defence
from privedge_lab.datasets import Labelled
from privedge_lab.disguise.settings import Sized

Ask = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class WhiteBoxView:
    """A server that knows the head's parameters and the defence's settings, but no device's key."""

    sent: torch.Tensor
    head: nn.Sequential
    image_shape: tuple[int, int, int]
    defence: Defence


@dataclass(frozen=True)
class BlackBoxView:
    """A server with `known` images and a device; `ask` runs that device's head and defence."""

    sent: torch.Tensor
    ask: Ask
    known: Labelled


@dataclass(frozen=True)
class QueryFreeView:
    """A server with its tail and `known` images; it knows the head's shape, not its parameters."""

    sent: torch.Tensor
    tail: nn.Sequential
    known: Labelled


@dataclass(frozen=True)
class AttributeView:
    """A server that wants a private attribute of each image behind `sent`, float32 (n, ...).

    It has a device of its own and images whose attribute it knows, `known_attribute` int64 (m,).
    `known_sent` float32 (m, ...) is what that device sends for them. This is Chi et al.'s
    untrusted remote side (docs/explanation/references.md#privacy-partitioning).
    """

    sent: torch.Tensor
    known_sent: torch.Tensor
    known_attribute: torch.Tensor


@dataclass(frozen=True)
class PartyView:
    """One of the two parties of private prediction: all it holds and sees of n private queries.

    All tensors are int64 words. Of each query, the party has:

    - `image_share` (n, *input_shape) and `answer_share` (n, owners), its shares;
    - `seeds` (n, 4), from which its masks are expanded, or (n, 0) without a dealer;
    - `masks` (n, words), its shares of all tuples, in order;
    - `sent` and `received` (n, words), every exchange with the other party, in order;
    - `making` (n, words), all messages by which the two parties made the tuples of that query, and
      of those made together with them, received ones first; (n, 0) with a dealer.

    Of the snapshot, it has `weights`, its share of every model, and `masked_weights`, which were
    opened once, with a dealer. What it got of weights without one is the same for all queries, so
    it is not here. A recording may keep only the first words of each tuple and exchange. The first
    exchange opens the image, of words of `word_bits` bits.
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
    making: torch.Tensor = field(repr=False)
    word_bits: int = RING_BITS


@dataclass(frozen=True)
class DisguisedView:
    """Level 1 of Sharma & Chen: the adversary knows the disguise and the domain, but not the key.

    `disguised` (n, C, H', W') are the images that a server gets to train on or to answer. `public`
    are other plain images of the same kind, with labels.
    """

    disguised: torch.Tensor
    sized: Sized
    public: Labelled


@dataclass(frozen=True)
class KnownPairsView:
    """Level 2: the adversary also has plain images with their disguises.

    `known` are (m, C, H, W), `known_disguised` (m, C, H', W').
    """

    disguised: torch.Tensor
    sized: Sized
    known: torch.Tensor
    known_disguised: torch.Tensor


@dataclass(frozen=True)
class DisguisedNetworkView:
    """An adversary with the network trained on disguised images, and plain images of that kind."""

    network: nn.Sequential
    sized: Sized
    public: Labelled


@dataclass(frozen=True)
class AnswersView:
    """A client of the private service, who sees only answers (Choquette-Choo et al. 2021).

    `right` bool (n, copies): whether each copy of an image was answered with the name of the owner
    in question. `known_right` bool (m, copies) is the same for a cohort that the client trained
    itself, so it knows which images are members: `known_members` bool (m,).
    """

    right: torch.Tensor
    known_right: torch.Tensor
    known_members: torch.Tensor
