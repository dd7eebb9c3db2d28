"""What products with fixed weights need of them, kept from run to run within a bound of memory.

It belongs to no pairing: other transfers do as well. What is learned at once, a LOT, is one layer's
weight of some models. A lot has a name of its own from both parties, so they know whether they keep
the same (TwoParty.joined). It serves every snapshot that has its models, whatever others are there:
so a model that joins a cohort is learned alone.

    covered    which lots to use for a snapshot, and which models none of them has
    lots       how to learn those

Both depend on what both parties know alike, so both decide alike.
"""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import torch

from parties.mpc.fixed_product import FixedProduct
from parties.mpc.twoparty.encrypted import Evaluator, KeyHolder
from parties.mpc.twoparty.hints import MaskHolder, WeightHolder
from parties.mpc.twoparty.layers import Layer
from privedge.errors import LimitExceeded
from privedge.sharing.ring import WORD_BYTES, Words

ID_BYTES: Final = 32
_MIB = 1 << 20
# So few polynomials of hints are no dearer than weights that are encrypted once: what these cost
# grows with the inputs, also for a single owner.
_FEW, _INPUTS_A_POLYNOMIAL = 32, 8
# Polynomials of hints in a lot, at most, unless one model has more: two or three seconds' work, for
# a run that ends early loses the lot that it was learning.
_LOT = 256
# With more lots than that of an input that all owners share, all but the largest become one: each
# sends that input's mask once more.
_MOST_LOTS = 8
# A name for each owner's model, the same at both parties; no two of them are equal.
Models: TypeAlias = tuple[bytes, ...]
# Send messages to the other party and return as many of its own.
Exchange: TypeAlias = Callable[[Sequence[bytes]], list[bytes]]


class Known:
    """A lot: this party's share of a weight of some models, and both roles of what products with it
    need. Once all of the other party's messages are there nothing of it changes, so several threads
    may use it. No useful repr.

    id: its nonce, from both parties.
    name, models: whose weight it is.
    memory: bytes, the share included.
    """

    def __init__(
        self, nonce: bytes, kind: FixedProduct, share: torch.Tensor, index: int, models: Models
    ) -> None:
        """share: of these models alone, as FixedProduct.prepared gives it.

        Raises ShareError for a product that two parties cannot make, LimitExceeded for too many
        inputs.
        """
        self.id, self.name, self.models = nonce, name_of(kind), models
        kind = of_owners(kind, len(models))
        # Each party holds a key in one direction, and has masks in the other.
        mine, theirs = nonce + bytes([index]), nonce + bytes([1 - index])
        self._share = share
        self._way: _Encrypted | _Hinted = (
            _Encrypted(kind, share, mine, theirs)
            if is_encrypted(kind)
            else _Hinted(kind, share, mine, theirs)
        )
        self.messages = self._way.holder.messages
        self.memory = memory(kind)

    def take(self, message: bytes) -> None:
        """The next of the other party's `messages`. Raises TranscriptMismatch."""
        self._way.taker.take(message)

    def products(
        self, kind: FixedProduct, masks: torch.Tensor, exchange: Exchange
    ) -> list[torch.Tensor]:
        """Shares of W * B for each of the masks B, of the product's shape; all of this lot."""
        kind = of_owners(kind, len(self.models))
        crossed = self._way.crossed(kind, masks, exchange)
        return [
            cross.add_(kind.apply(mask, self._share))
            for mask, cross in zip(masks, crossed, strict=True)
        ]


class Part(NamedTuple):
    """A lot, and which of a snapshot's owners it serves: those at `places` are at `rows` of it."""

    known: Known
    places: list[int]
    rows: list[int]

    def products(
        self, kind: FixedProduct, masks: torch.Tensor, exchange: Exchange
    ) -> list[torch.Tensor]:
        """This party's shares of W * B of these owners; `kind` and `masks` are of all of them."""
        if not is_shared(kind):
            own = masks.index_select(1 + owner_axis(kind), torch.tensor(self.places))
            shape = list(masks.shape)
            shape[1 + owner_axis(kind)] = len(self.known.models)
            # Models of the lot that are no longer asked get an input of zeros, and nobody looks at
            # what comes of it.
            masks = torch.zeros(shape, dtype=masks.dtype)
            masks.index_copy_(1 + owner_axis(kind), torch.tensor(self.rows), own)
        made = self.known.products(kind, masks, exchange)
        return [each.index_select(owner_axis(kind), torch.tensor(self.rows)) for each in made]


class _Encrypted:
    """A dense layer whose input all owners share (encrypted.py)."""

    def __init__(self, kind: FixedProduct, share: torch.Tensor, mine: bytes, theirs: bytes) -> None:
        words: Words = share.contiguous().numpy().view(np.uint64)
        owners, outputs, inputs = words.shape
        flat = words.reshape(-1, inputs)
        self.holder = KeyHolder(flat, mine)
        self.taker = Evaluator(owners * outputs, inputs, theirs)

    def crossed(
        self, kind: FixedProduct, masks: torch.Tensor, exchange: Exchange
    ) -> list[torch.Tensor]:
        """Shares of both cross terms, of the product's shape for each of `masks`."""
        words = masks.numpy().view(np.uint64)
        replies, shares = self.taker.replies(words.reshape(-1, words.shape[-1]))
        both = [
            share + self.holder.share(reply)
            for share, reply in zip(shares, exchange(replies), strict=True)
        ]
        owners, batch, outputs = kind.derived[0]
        terms = np.stack(both).view(np.int64).reshape(len(masks), batch, owners, outputs)
        return [torch.from_numpy(term).transpose(0, 1).contiguous() for term in terms]


class _Hinted:
    """Any other layer (hints.py)."""

    def __init__(self, kind: FixedProduct, share: torch.Tensor, mine: bytes, theirs: bytes) -> None:
        self._layer = Layer.of(kind)
        self.holder = WeightHolder(self._layer, self._layer.weights(share), mine)
        self.taker = MaskHolder(self._layer, theirs)

    def crossed(
        self, kind: FixedProduct, masks: torch.Tensor, exchange: Exchange
    ) -> list[torch.Tensor]:
        """Shares of both cross terms, of the product's shape for each of `masks`."""
        rows = [image for mask in masks for image in self._layer.rows(mask)]
        asked = [self.taker.ask(image) for image in rows]
        answered = [self.holder.reply(theirs) for theirs in exchange([own for own, _ in asked])]
        replies = exchange([reply for reply, _ in answered])
        shares = []
        for (_, secret), (_, mine), reply in zip(asked, answered, replies, strict=True):
            theirs = self.taker.shares(secret, reply)
            shares.append([one + other for one, other in zip(mine, theirs, strict=True)])
        images = len(rows) // len(masks)
        lots = [shares[at : at + images] for at in range(0, len(shares), images)]
        return [
            self._layer.laid_out([np.stack(block) for block in zip(*lot, strict=True)])
            for lot in lots
        ]


def is_encrypted(kind: FixedProduct) -> bool:
    """Whether products are made with weights encrypted once, and not by hints. They take as much
    time and memory for one owner as for a hundred.
    """
    if kind.map != "dense" or kind.input[0] != 1:
        return False
    layer, inputs = Layer.of(kind), kind.input[-1]
    return layer.owners * layer.polynomials > max(_FEW, inputs // _INPUTS_A_POLYNOMIAL)


def name_of(kind: FixedProduct) -> str:
    """What was learned for one product serves all others with this name: those of other batches."""
    groups = kind.input[1] if kind.map == "conv" else kind.input[0]
    own = "shared" if groups == 1 else "own"
    return f"{kind.map} {kind.name} {own} {kind.window}"


def is_shared(kind: FixedProduct) -> bool:
    """Whether all owners have the same input."""
    return kind.input[owner_axis(kind)] == 1


def owner_axis(kind: FixedProduct) -> int:
    """Where owners are in the shapes of a product's input and output."""
    return 1 if kind.map == "conv" else 0


def of_owners(kind: FixedProduct, owners: int) -> FixedProduct:
    """The same product for as many owners."""
    given = list(kind.input)
    if not is_shared(kind):
        given[owner_axis(kind)] = owners
    return replace(kind, weight=(owners, *kind.weight[1:]), input=tuple(given))


def memory(kind: FixedProduct) -> int:
    """Bytes that Known keeps of a weight. Raises ShareError."""
    share = WORD_BYTES * math.prod(kind.masked)
    if not is_encrypted(kind):
        return share + MaskHolder.memory(Layer.of(kind))
    owners, outputs, inputs = kind.weight
    return share + Evaluator.memory(owners * outputs, inputs) + KeyHolder.memory(owners * outputs)


# Lots by their ids.
Weights: TypeAlias = dict[bytes, Known]


def covered(weights: Weights, kind: FixedProduct, models: Models) -> tuple[list[Part], list[int]]:
    """The lots to use for a product with these models' weights, and the places of the models that
    none of them has.
    """
    left = {model: place for place, model in enumerate(models)}
    named = [known for known in weights.values() if known.name == name_of(kind)]
    serves = {known.id: sum(model in left for model in known.models) for known in named}
    parts = []
    for known in sorted(named, key=lambda known: (-serves[known.id], known.id)):
        # One with mostly models that are gone costs more than to learn the others again.
        if 2 * serves[known.id] < len(known.models):
            continue
        rows = [row for row, model in enumerate(known.models) if model in left]
        if rows:
            parts.append(Part(known, [left.pop(known.models[row]) for row in rows], rows))
    return parts, sorted(left.values())


def lots(weights: Weights, kind: FixedProduct, models: Models) -> list[list[int]]:
    """The places of models that are to be learned, lot by lot; none if `covered` finds all."""
    parts, missing = covered(weights, kind, models)
    if not missing:
        return []
    if is_shared(kind):
        if len(parts) >= _MOST_LOTS:
            missing += [place for part in parts[1:] for place in part.places]
        return [sorted(missing)]
    size = max(1, _LOT // Layer.of(of_owners(kind, 1)).polynomials)
    return [missing[at : at + size] for at in range(0, len(missing), size)]


def missing_memory(weights: Weights, kind: FixedProduct, models: Models) -> int:
    """Bytes that learning those takes; 0 if there is nothing to learn. Raises ShareError."""
    return sum(memory(of_owners(kind, len(lot))) for lot in lots(weights, kind, models))


def without(weights: Weights, kind: FixedProduct, models: Models) -> Iterator[bytes]:
    """The ids of the lots that these models, learned together, replace."""
    for known in list(weights.values()):
        if known.name == name_of(kind) and set(known.models) <= set(models):
            yield known.id


class KeptWeights:
    """Lots of several snapshots; those used last stay. Safe to call from several threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._kept: Weights = {}

    def weights(self) -> Weights:
        """All of them."""
        with self._lock:
            return dict(self._kept)

    def keep(self, weights: Weights, models: Models) -> None:
        """These in place of all others; those of `models` were used last. Where they are too many,
        those that were not used for the longest time go.
        """
        wanted = set(models)
        with self._lock:
            # In the order in which they were used; a sort keeps it.
            by_age = sorted(weights.values(), key=lambda known: not wanted.isdisjoint(known.models))
            left = self._limit - sum(known.memory for known in by_age)
            self._kept = {}
            for known in by_age:
                if left < 0:
                    left += known.memory
                else:
                    self._kept[known.id] = known

    def check_room(self, models: Models, weights: Weights, more: int) -> None:
        """Raises LimitExceeded if `more` bytes do not fit beside what there is of these models."""
        wanted = set(models)
        of_these = [known for known in weights.values() if not wanted.isdisjoint(known.models)]
        needed = more + sum(known.memory for known in of_these)
        if needed > self._limit:
            raise LimitExceeded(
                f"two-party randomness needs {-(-needed // _MIB)} MiB for these models' weights; "
                "see [pool] hint_mib"
            )
