"""Bundles that two parties make, with nobody else: one party's side, in step with the other's.

    1.  pairing    base transfers in both directions: three exchanges, once for a connection
    2.  weights    each party's share of a weight, encrypted, to the other: once for each weight
    3.  bundles    all tuples of a plan: chunks of one kind are made together, four messages each,
                   and products with fixed weights, one message each way
    4.  agreement  both compare a digest of all that was exchanged and of what it was for

All of one pairing's secrets are in memory only and end with it. Whatever is raised, the pairing
must not be used any more: what it made until then has been agreed on, and what it was making is
dropped.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import numpy as np
import torch

from parties.mpc.bundles import Bundle
from parties.mpc.dealing import Ahead, SessionId, TupleShares
from parties.mpc.fixed_product import FixedProduct
from parties.mpc.prg import KeyStream
from parties.mpc.tuples import TupleKind
from parties.mpc.twoparty import ring
from parties.mpc.twoparty.extension import Picking, Planting
from parties.mpc.twoparty.kinds import Kind, Parts, of_one
from parties.mpc.twoparty.learned import (
    ID_BYTES,
    Known,
    Models,
    Weights,
    covered,
    is_encrypted,
    lots,
    memory,
    name_of,
    of_owners,
    owner_axis,
    without,
)
from parties.mpc.twoparty.making import Choosing, Chunk, Giving, chunks, dealt, given
from privedge.errors import NotReady, TranscriptMismatch
from privedge.sharing.ring import Words

_NONCE_BYTES = 16
_DIGEST_BYTES = hashlib.sha256().digest_size
# Chunks whose messages travel together. With two or more, both parties send in every exchange.
_TOGETHER = 4
# Messages of a weight that travel together: at most 7 MB for each 8,192 rows.
_TOGETHER_ONCE = 32


class PeerLink(Protocol):
    """A party's way to the other one, in step: session.PeerLink."""

    def exchange(self, payload: bytes) -> bytearray:
        """Send `payload` and return what the other party sent in the same exchange."""


class _Line:
    """Exchanges, counted and added to a digest that is the same at both parties."""

    def __init__(self, index: int, link: PeerLink) -> None:
        self._index = index
        self.link = link
        self._digest = hashlib.sha256(b"privedge two parties v1")
        self.bytes_sent = 0
        self.bytes_received = 0

    def exchange(self, mine: bytes) -> bytes:
        theirs = bytes(self.link.exchange(mine))
        self.bytes_sent += len(mine)
        self.bytes_received += len(theirs)
        # Party 0's message first, each with its length before it.
        for message in (mine, theirs) if self._index == 0 else (theirs, mine):
            self.add(message)
        return theirs

    def add(self, text: bytes) -> None:
        """What both know without saying it."""
        self._digest.update(len(text).to_bytes(8, "little"))
        self._digest.update(text)

    @property
    def digest(self) -> bytes:
        """Of all until here."""
        return self._digest.digest()

    def agree(self) -> None:
        """Raises TranscriptMismatch if anything until here differed."""
        mine = self.digest
        if self.exchange(mine) != mine:
            raise TranscriptMismatch("making randomness: the parties did not see the same messages")


class TwoParty:
    """One party of a pairing. Experimental: not reviewed from outside.

    Secret; it has no useful repr. bytes_sent, bytes_received: to and from the other party, so far.
    weights: those that both have learned, by id.
    """

    def __init__(self, index: int, link: PeerLink) -> None:
        """`index`: 0 or 1. Three round trips. Raises TranscriptMismatch."""
        self._index = index
        self._line = _Line(index, link)
        self._nonce = self._both(os.urandom(_NONCE_BYTES))
        # The direction of transfers is part of their name: which party sends them.
        planting = Planting(self._nonce + bytes([1 - index]))
        point = self._line.exchange(planting.point)
        picking = Picking(self._nonce + bytes([index]), point)
        message, self._receiver = planting.planted(self._line.exchange(picking.points))
        self._sender = picking.picked(self._line.exchange(message))
        self.weights: Weights = {}
        self._line.agree()

    @staticmethod
    def joined(
        index: int, link: PeerLink, before: "TwoParty | None", weights: Weights | None = None
    ) -> "TwoParty":
        """The pairing `before` over a new link, if both parties have it in the same state; else a
        new one. One round trip more. Raises TranscriptMismatch.

        weights: what this party has learned, in this pairing or another one, and still keeps; those
        that the other party keeps too can be used.
        """
        mine = before._line.digest if before else os.urandom(_DIGEST_BYTES)
        kept = weights if weights is not None else (before.weights if before else {})
        theirs = bytes(link.exchange(mine + b"".join(kept)))
        same = before is not None and theirs[:_DIGEST_BYTES] == mine
        pairing = before if before is not None and same else TwoParty(index, link)
        pairing._line.link = link
        told = {theirs[at : at + ID_BYTES] for at in range(_DIGEST_BYTES, len(theirs), ID_BYTES)}
        pairing.weights = {name: known for name, known in kept.items() if name in told}
        return pairing

    @property
    def bytes_sent(self) -> int:
        return self._line.bytes_sent

    @property
    def bytes_received(self) -> int:
        return self._line.bytes_received

    def knows(self, kind: FixedProduct, models: Models) -> bool:
        """Whether that weight was learned of all these models."""
        return not covered(self.weights, kind, models)[1]

    def memory_of_missing(self, kind: FixedProduct, models: Models) -> int:
        """Bytes that `learn` would take; 0 if there is nothing to learn. Raises ShareError."""
        wanted = lots(self.weights, kind, models)
        return sum(memory(of_owners(kind, len(lot))) for lot in wanted)

    def learn(self, kind: FixedProduct, weight: torch.Tensor, models: Models) -> None:
        """Exchange what products with a weight need, once for each model.

        weight: this party's share of all models' weights, as FixedProduct.prepared gives it, int64
        of `kind.masked`.
        models: whose weights they are, in the same order; the same at both.

        Raises ShareError for a product that two parties cannot make, LimitExceeded for too many
        inputs, TranscriptMismatch. Each lot that was learned until then stays usable.
        """
        self.memory_of_missing(kind, models)  # refuses what is not possible
        for lot in lots(self.weights, kind, models):
            # Without a copy, if it is all of them.
            own = weight if len(lot) == len(models) else weight[lot]
            self._learn(kind, own, tuple(models[place] for place in lot))

    def _learn(self, kind: FixedProduct, weight: torch.Tensor, models: Models) -> None:
        nonce = self._both(os.urandom(_NONCE_BYTES))
        for model in models:
            self._line.add(model)
        self._line.add(f"weight {name_of(kind)} {kind.weight}".encode())
        # Each party holds a key in one direction, and has masks in the other.
        known = Known(nonce, kind, weight, self._index, models)
        messages = known.messages()
        while lot := list(islice(messages, _TOGETHER_ONCE)):
            for message in self._exchange_all(lot):
                known.take(message)
        self._line.agree()
        for before in without(self.weights, kind, models):
            del self.weights[before]
        self.weights[known.id] = known

    def tuple(self, kind: TupleKind) -> TupleShares:
        """Make one tuple, now. Raises ShareError and TranscriptMismatch, as `bundle` does."""
        self._line.add(kind.purpose.encode())
        shares = dealt([kind], self._made([kind], 0, lambda: None))[0]
        self._line.agree()
        return shares

    def product(self, kind: FixedProduct, models: Models) -> Ahead:
        """Make B_i and U_i of weights that were learned, now. Raises TranscriptMismatch."""
        self._line.add(kind.purpose.encode())
        (ahead,) = self._products(kind, models, 1)
        self._line.agree()
        return ahead

    def bundles(
        self,
        plan: Sequence[TupleKind],
        names: Sequence[SessionId],
        models: Models = (),
        pause: Callable[[], None] = lambda: None,
    ) -> list[Bundle]:
        """Make bundles of this plan, under these names, which both parties have chosen alike. Many
        at once take less time each. `models`: whose weights products are with.

        pause: called before each exchange of chunks; it may wait.
        Raises ShareError for what two parties cannot make and NotReady for a weight that was not
        learned, before anything is sent, and TranscriptMismatch.

        Bundle.seconds are seconds of this thread's processor: without pauses and the other party.
        """
        started = time.thread_time()
        for kind in plan:
            if isinstance(kind, FixedProduct) and not self.knows(kind, models):
                raise NotReady(f"making randomness: the weight {kind.name} was not learned")
        every = [*plan] * len(names)
        groups = _grouped(every)
        for name in names:
            self._line.add(name.session)
        for kind in plan:
            self._line.add(kind.purpose.encode())
        parts: dict[int, TupleShares | Ahead] = {}
        for first, places in enumerate(groups.values()):
            alike = [every[at] for at in places]
            made = self._made(alike, first % 2, pause)
            parts.update(zip(places, dealt(alike, made), strict=True))
        for at, kind in enumerate(plan):
            if isinstance(kind, FixedProduct):
                alike_at = range(at, len(every), len(plan))
                products = self._paused(kind, models, len(names), pause)
                parts.update(zip(alike_at, products, strict=True))
        self._line.agree()
        seconds = (time.thread_time() - started) / len(names)
        size = len(plan)
        return [
            Bundle(name, [(kind, parts[n * size + at]) for at, kind in enumerate(plan)], seconds)
            for n, name in enumerate(names)
        ]

    def _both(self, mine: bytes) -> bytes:
        """Both parties' bytes, party 0's first."""
        theirs = self._line.exchange(mine)
        if len(theirs) != len(mine):
            raise TranscriptMismatch("making randomness: a nonce of the wrong length")
        return mine + theirs if self._index == 0 else theirs + mine

    def _made(
        self, alike: Sequence[TupleKind], first: int, pause: Callable[[], None]
    ) -> list[Parts]:
        """Tuples of one kind; `first` is the first giver."""
        made: list[Parts] = []
        wanted, start = chunks(alike, first), given(alike, ring.fresh())
        while lot := list(islice(wanted, _TOGETHER)):
            pause()
            made += self._lot(lot, start)
        return made

    def _lot(self, lot: Sequence[Chunk], start: Words | None) -> list[Parts]:
        """This party's parts of some chunks: of all of them in each of four exchanges."""
        # 1. The extension: who chooses sends. Reverse transfers are chosen by the giver.
        rows = [(chunk.reverse if chunk.giver == self._index else chunk.forward) for chunk in lot]
        own = [
            self._receiver.extend(count, chunk.width) if count else (b"", None)
            for count, chunk in zip(rows, lot, strict=True)
        ]
        theirs = self._exchange_all([message for message, _ in own])
        roles: list[Giving | Choosing] = []
        for chunk, (_, chosen), message in zip(lot, own, theirs, strict=True):
            gives = chunk.giver == self._index
            count = chunk.forward if gives else chunk.reverse
            pairs = self._sender.extend(count, chunk.width, message) if count else None
            if gives and pairs is not None:
                roles.append(Giving(chunk, pairs, chosen, ring.fresh(), start))
            elif chosen is not None:
                roles.append(Choosing(chunk, chosen, pairs, ring.fresh(), start))
        return self._payloads(roles)

    def _payloads(self, roles: Sequence[Giving | Choosing]) -> list[Parts]:
        # 2. From givers to choosers, 3. back, 4. what is left, from givers to choosers.
        second = self._exchange_all(
            [role.message if isinstance(role, Giving) else b"" for role in roles]
        )
        third = self._exchange_all(
            [
                role.answer(message) if isinstance(role, Choosing) else b""
                for role, message in zip(roles, second, strict=True)
            ]
        )
        given = [
            role.finish(message) if isinstance(role, Giving) else (b"", None)
            for role, message in zip(roles, third, strict=True)
        ]
        fourth = self._exchange_all([message for message, _ in given])
        parts: list[Parts] = []
        for role, (_, mine), message in zip(roles, given, fourth, strict=True):
            if isinstance(role, Choosing):
                parts.append(role.finish(message))
            elif mine is not None:
                parts.append(mine)
        return parts

    def _paused(
        self, kind: FixedProduct, models: Models, count: int, pause: Callable[[], None]
    ) -> Iterator[Ahead]:
        """`_products`, as many at once as pays: a query would wait for all of those."""
        at_once = count if is_encrypted(kind) else 1
        for _ in range(0, count, at_once):
            pause()
            yield from self._products(kind, models, at_once)

    def _products(self, kind: FixedProduct, models: Models, count: int) -> list[Ahead]:
        """B_i and U_i with U_0 + U_1 = W * B = (W_0 + W_1) * (B_0 + B_1), `count` times."""
        masks = torch.from_numpy(_random(count, *kind.input).view(np.int64))
        made = [torch.empty(*kind.derived[0], dtype=torch.int64) for _ in range(count)]
        for part in covered(self.weights, kind, models)[0]:
            places = torch.tensor(part.places)
            for whole, own in zip(
                made, part.products(kind, masks, self._exchange_all), strict=True
            ):
                whole.index_copy_(owner_axis(kind), places, own)
        return list(zip(masks, made, strict=True))

    def _exchange_all(self, messages: Sequence[bytes]) -> list[bytes]:
        """Exchange several messages at once; the other party sends as many."""
        packed = b"".join(len(each).to_bytes(8, "little") + each for each in messages)
        theirs = self._line.exchange(packed)
        found, at = [], 0
        while at + 8 <= len(theirs):
            size = int.from_bytes(theirs[at : at + 8], "little")
            found.append(theirs[at + 8 : at + 8 + size])
            at += 8 + size
        if at != len(theirs) or len(found) != len(messages):
            raise TranscriptMismatch("making randomness: messages that are not as many as expected")
        return found


def _grouped(plan: Sequence[TupleKind]) -> dict[Kind, list[int]]:
    """The places of tuples that are made together, by kind, in the order of the plan."""
    groups: dict[Kind, list[int]] = {}
    for at, kind in enumerate(plan):
        if not isinstance(kind, FixedProduct):
            groups.setdefault(of_one(kind), []).append(at)
    return groups


def _random(*shape: int) -> Words:
    stream: KeyStream = ring.fresh()
    words: Words = stream.take(shape).numpy().view(np.uint64)
    return words
