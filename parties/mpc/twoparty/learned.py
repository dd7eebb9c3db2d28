"""What products with fixed weights need of them, kept from run to run within a bound of memory.

It belongs to no pairing: other transfers do as well. Each weight that was learned has a name of its
own from both parties, so they know whether they keep the same (TwoParty.joined).
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np
import torch

from parties.mpc.fixed_product import FixedProduct
from parties.mpc.twoparty.encrypted import Evaluator, KeyHolder
from parties.mpc.twoparty.hints import MaskHolder, WeightHolder
from parties.mpc.twoparty.layers import Layer
from privedge.errors import LimitExceeded
from privedge.sharing.ring import Words

ID_BYTES: Final = 32
_MIB = 1 << 20
# So few polynomials of hints are no dearer than weights that are encrypted once.
_FEW = 32
# Send messages to the other party and return as many of its own.
Exchange: TypeAlias = Callable[[Sequence[bytes]], list[bytes]]


class Known:
    """A weight: this party's share, and both roles of what products with it need. Once all of the
    other party's messages are there nothing of it changes, so several threads may use it. No useful
    repr.

    id: its nonce, from both parties.
    share: as FixedProduct.prepared gives it.
    """

    def __init__(self, nonce: bytes, kind: FixedProduct, share: torch.Tensor, index: int) -> None:
        """Raises ShareError for a product that two parties cannot make, LimitExceeded for too many
        inputs.
        """
        self.id, self.share = nonce, share
        # Each party holds a key in one direction, and has masks in the other.
        mine, theirs = nonce + bytes([index]), nonce + bytes([1 - index])
        self._way: _Encrypted | _Hinted = (
            _Encrypted(kind, share, mine, theirs)
            if is_encrypted(kind)
            else _Hinted(kind, share, mine, theirs)
        )
        self.messages = self._way.holder.messages
        self.crossed = self._way.crossed
        self.memory = memory(kind)

    def take(self, message: bytes) -> None:
        """The next of the other party's `messages`. Raises TranscriptMismatch."""
        self._way.taker.take(message)


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
    layer = Layer.of(kind)
    return layer.owners * layer.polynomials > _FEW


def name_of(kind: FixedProduct) -> str:
    """What was learned for one product serves all others with this name: those of other batches."""
    groups = kind.input[1] if kind.map == "conv" else kind.input[0]
    own = "shared" if groups == 1 else "own"
    return f"{kind.map} {kind.name} {own} {kind.window}"


def memory(kind: FixedProduct) -> int:
    """Bytes that Known keeps of a weight, without the share. Raises ShareError."""
    if not is_encrypted(kind):
        return MaskHolder.memory(Layer.of(kind))
    owners, outputs, inputs = kind.weight
    return Evaluator.memory(owners * outputs, inputs) + KeyHolder.memory(owners * outputs)


# By whose weights they are (TwoParty.learn), and by name.
Weights: TypeAlias = dict[tuple[bytes, str], Known]


class KeptWeights:
    """Weights of several snapshots; those used last stay. Safe to call from several threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._kept: Weights = {}

    def weights(self) -> Weights:
        """All of them."""
        with self._lock:
            return dict(self._kept)

    def keep(self, weights: Weights, scope: bytes) -> None:
        """These in place of all others; `scope` was used last. Where they are too many, the scopes
        that were not used for the longest time go.
        """
        with self._lock:
            order = [of for of, _ in self._kept if of != scope] + [scope]
            by_age = sorted(weights, key=lambda key: order.index(key[0]) if key[0] in order else 0)
            left = self._limit - sum(known.memory for known in weights.values())
            self._kept = {}
            for key in by_age:
                if left < 0:
                    left += weights[key].memory
                else:
                    self._kept[key] = weights[key]

    def check_room(self, scope: bytes, weights: Weights, more: int) -> None:
        """Raises LimitExceeded if `more` bytes do not fit beside those of this scope."""
        needed = more + sum(known.memory for (of, _), known in weights.items() if of == scope)
        if needed > self._limit:
            raise LimitExceeded(
                f"two-party randomness needs {-(-needed // _MIB)} MiB for these models' weights; "
                "see [pool] hint_mib"
            )
