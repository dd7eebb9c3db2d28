"""What a tuple is made of, by two roles: P chooses, S sends (keys.py). They differ by tuple.

A kind is written once (kinds.py), for both. It draws random bits, of which P's shares are choices
of transfers, and computes additive and XOR shares of functions of them:

    ring       a bit as a number: b = b_0 + b_1 - 2 b_0 b_1
    lookups    products of bits (lookup.py)
    times      a bit times numbers: each party's share of the number, times the other's of the bit
    crossed    the product of a number that S has and one that P has
    scaled     a number of 64 bits times a number that was there before

"forward" transfers are chosen by P, "reverse" ones by S. The messages of one making:

    1.  P -> S and S -> P   the extension's, before any of this
    2.  S -> P              all of S's terms
    3.  P -> S              P's terms in reverse transfers
    4.  S -> P              S's terms that need a message of P's; for `Choice` alone

In a correlated transfer of x with choice c, the holder of both hashes h_0 and h_1 sends
y = h_0 - h_1 + x and has -h_0; the other one has h_c + c y. Together that is c x. y is uniform to
the chooser: with c = 0 it does not know h_1, with c = 1 not h_0.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from parties.mpc.prg import KeyStream
from parties.mpc.twoparty.keys import BLOCK_WORDS, WORD, Chosen, Pairs, bits_of, planes_of
from parties.mpc.twoparty.lookup import Lookup
from parties.mpc.twoparty.messages import Reader, Writer
from privedge.errors import TranscriptMismatch
from privedge.sharing.ring import RING_BITS, Words

_1, _2 = np.uint64(1), np.uint64(2)


@dataclass(frozen=True)
class Bit:
    """One XOR-shared bit of each element: this party's share, and the transfers it belongs to."""

    plane: Words
    forward: int = -1
    reverse: int = -1

    @cached_property
    def value(self) -> Words:
        """(n,) of 0 or 1."""
        return bits_of(self.plane)

    @property
    def mask(self) -> Words:
        """(n,) of 0 or all ones."""
        return np.uint64(0) - self.value


# What completes a share once the other party's next message is there.
Later = Callable[[], list[Words]]


class Role(ABC):
    """One party in the making of some elements of a tuple."""

    # Whether it is the one that adds what is public.
    leads: bool

    def __init__(self, width: int, forward: int, reverse: int, random: KeyStream) -> None:
        """`forward`, `reverse`: how many rows of transfers there are."""
        self.width = width
        self.elements = width * WORD
        self.received: Reader
        self.sent = Writer()
        # This party's shares (n,) of what was there before, for kinds that start from something.
        self.given = self.zero
        self._left = [iter(range(forward)), iter(range(reverse))]
        self._random = random

    @property
    def zero(self) -> Words:
        """(n,)."""
        return np.zeros(self.elements, np.uint64)

    def uniform(self, *shape: int) -> Words:
        """This party's share of a mask that nothing else depends on, (*shape, n)."""
        taken: Words = self._random.take((*shape, self.elements)).numpy().view(np.uint64)
        return taken

    @abstractmethod
    def bits(self, count: int, *, both: bool = False) -> list[Bit]:
        """Uniform bits. `both`: S's shares are choices too, of reverse transfers."""

    @abstractmethod
    def ring(self, bit: Bit, bits: int) -> Words:
        """An additive share (n,) of the bit; right modulo 2^bits."""

    @abstractmethod
    def lookups(self, wanted: Sequence[tuple[Sequence[Bit], Lookup]]) -> list[Words]:
        """XOR shares of the products of each, packed, (products, W)."""

    @abstractmethod
    def times(self, bit: Bit, numbers: Sequence[Words], bits: Sequence[int]) -> Later:
        """Additive shares of the bit (drawn as `both`) times numbers (n,), each right modulo
        2^bits.
        """

    @abstractmethod
    def crossed(self, number: Words) -> Later:
        """Additive shares of twice the product of the number (n,) that S has and the one P has."""

    @abstractmethod
    def scaled(self, bits: Sequence[Bit], number: Words) -> Later:
        """Additive shares of x times a number (n,), where a party's share of x is its shares of 64
        bits (drawn as `both`), as a number.
        """

    @abstractmethod
    def squared(self) -> tuple[Words, Words]:
        """A share of a uniform r (n,) and a share of r^2."""

    @abstractmethod
    def numbers(self, planes: Words, numbers: Sequence[Words]) -> Later:
        """Additive shares of bits of which this party has these XOR shares (W,), not choices, and
        of their products with numbers (n,).
        """

    def _row(self, reverse: bool = False) -> int:
        row = next(self._left[reverse], None)
        if row is None:
            raise TranscriptMismatch("making randomness: more transfers than were counted")
        return row

    def _correlate(self, pads: tuple[Words, Words], number: Words, bits: int) -> Words:
        """The sending end of a correlated transfer of `number`: writes y, returns -h_0."""
        self.sent.cut(pads[0] - pads[1] + number, bits)
        return np.uint64(0) - pads[0]

    def _correlated(self, pad: Words, mask: Words, bits: int) -> Words:
        """The choosing end: h_c + c y."""
        return pad + (mask & self.received.cut(self.elements, bits))


def own_number(bits: Sequence[Bit]) -> Words:
    """This party's shares of some bits, as a number (n,)."""
    total = np.zeros_like(bits[0].value)
    for at, bit in enumerate(bits):
        total |= bit.value << np.uint64(at)
    return total


def _swapped(pads: tuple[Words, Words], mask: Words) -> tuple[Words, Words]:
    """Both pads, the other way round where the mask is set."""
    change = (pads[0] ^ pads[1]) & mask
    return pads[0] ^ change, pads[1] ^ change


def _packed_planes(shares: Sequence[Words], wanted: Sequence[Lookup]) -> list[Words]:
    """Words of a few bits (n,) -> the planes of each, (products, W); many at a transposition."""
    planes: list[Words] = []
    at = 0
    while at < len(shares):
        filled, used, places = np.zeros(shares[at].size, np.uint64), 0, []
        while at < len(shares) and used + len(wanted[at].products) <= WORD:
            filled |= shares[at].astype(np.uint64) << np.uint64(used)
            places.append(slice(used, used + len(wanted[at].products)))
            used += len(wanted[at].products)
            at += 1
        turned = planes_of(filled)
        planes += [turned[place] for place in places]
    return planes


class Chooser(Role):
    """P."""

    leads = True

    def __init__(self, chosen: Chosen, pairs: Pairs | None, random: KeyStream) -> None:
        """`chosen`: the forward transfers; `pairs`: the reverse ones, if there are any."""
        super().__init__(chosen.width, chosen.count, pairs.count if pairs else 0, random)
        self._chosen = chosen
        self._pairs = pairs

    def bits(self, count: int, *, both: bool = False) -> list[Bit]:
        rows = [(self._row(), self._row(True) if both else -1) for _ in range(count)]
        return [Bit(self._chosen.choice(row), row, back) for row, back in rows]

    def ring(self, bit: Bit, bits: int) -> Words:
        if bits == 1:
            return bit.value
        pad = self._chosen.pad(bit.forward)[:, 0]
        return bit.value - _2 * self._correlated(pad, bit.mask, bits - 1)

    def lookups(self, wanted: Sequence[tuple[Sequence[Bit], Lookup]]) -> list[Words]:
        shares = []
        for bits, form in wanted:
            pads = [self._chosen.pad(bit.forward, form.blocks) for bit in bits]
            sent = self.received.take((self.elements, form.bytes), np.uint8)
            shares.append(form.receive(pads, own_number(bits), sent))
        return _packed_planes(shares, [form for _, form in wanted])

    def times(self, bit: Bit, numbers: Sequence[Words], bits: Sequence[int]) -> Later:
        blocks = -(-len(numbers) // BLOCK_WORDS)
        pad = self._chosen.pad(bit.forward, blocks)
        zero, one = self._reverse.pads(bit.reverse, blocks)
        shares = []
        for at, (number, size) in enumerate(zip(numbers, bits, strict=True)):
            share = self._correlated(pad[:, at], bit.mask, size)
            # b x = b_0 x + b_1 (1 - 2 b_0) x, for the number's share x that is P's.
            signed = number - _2 * bit.value * number
            share += self._correlate((zero[:, at], one[:, at]), signed, size)
            shares.append(share + bit.value * number)
        return lambda: shares

    def crossed(self, number: Words) -> Later:
        share = self.zero
        theirs = self.received.take((RING_BITS - 1, self.width))
        for at in range(RING_BITS - 1):
            pads = self._reverse.pads(self._row(True))
            own = _swapped((pads[0][:, 0], pads[1][:, 0]), np.uint64(0) - bits_of(theirs[at]))
            share += self._correlate(own, number, RING_BITS - 1 - at) << np.uint64(at + 1)
        return lambda: [share]

    def scaled(self, bits: Sequence[Bit], number: Words) -> Later:
        share = own_number(bits) * number
        for at, bit in enumerate(bits):
            pad, (zero, one) = self._chosen.pad(bit.forward), self._reverse.pads(bit.reverse)
            part = self._correlated(pad[:, 0], bit.mask, RING_BITS - at)
            part += self._correlate((zero[:, 0], one[:, 0]), number, RING_BITS - at)
            share += part << np.uint64(at)
        return lambda: [share]

    def squared(self) -> tuple[Words, Words]:
        bits = self.bits(RING_BITS - 1)
        number = own_number(bits) | (self.uniform() << np.uint64(RING_BITS - 1))
        square = number * number
        for at, bit in enumerate(bits):
            pad = self._chosen.pad(bit.forward)[:, 0]
            part = self._correlated(pad, bit.mask, RING_BITS - 1 - at)
            square += part << np.uint64(at + 1)
        return number, square

    def numbers(self, planes: Words, numbers: Sequence[Words]) -> Later:
        own = Bit(planes)
        # S's share is made a choice: it sent in which bits it differs from one.
        back = self._row(True)
        theirs = np.uint64(0) - bits_of(self.received.take((self.width,)))
        zero, one = self._reverse.pads(back, 1 + len(numbers) // BLOCK_WORDS)
        pads = [_swapped((zero[:, at], one[:, at]), theirs) for at in range(1 + len(numbers))]
        product = self._correlate(pads[0], own.value, RING_BITS - 1)
        shares = [own.value - _2 * product]
        for pair, number in zip(pads[1:], numbers, strict=True):
            signed = number - _2 * own.value * number
            shares.append(own.value * number + self._correlate(pair, signed, RING_BITS))
        if not numbers:
            return lambda: shares
        # And so is P's own, for S's terms in message 4.
        row = self._row()
        self.sent.put(planes ^ self._chosen.choice(row))

        def later() -> list[Words]:
            pad = self._chosen.pad(row, -(-len(numbers) // BLOCK_WORDS))
            for at in range(len(numbers)):
                shares[1 + at] += self._correlated(pad[:, at], own.mask, RING_BITS)
            return shares

        return later

    @property
    def _reverse(self) -> Pairs:
        if self._pairs is None:
            raise TranscriptMismatch("making randomness: no reverse transfers were counted")
        return self._pairs


class Giver(Role):
    """S."""

    leads = False

    def __init__(self, pairs: Pairs, chosen: Chosen | None, random: KeyStream) -> None:
        """`pairs`: the forward transfers; `chosen`: the reverse ones, if there are any."""
        super().__init__(pairs.width, pairs.count, chosen.count if chosen else 0, random)
        self._pairs = pairs
        self._chosen = chosen

    def bits(self, count: int, *, both: bool = False) -> list[Bit]:
        made = []
        for _ in range(count):
            row = self._row()
            if both:
                back = self._row(True)
                made.append(Bit(self._reverse.choice(back), row, back))
            else:
                plane: Words = self._random.take((self.width,)).numpy().view(np.uint64)
                made.append(Bit(plane, row))
        return made

    def ring(self, bit: Bit, bits: int) -> Words:
        if bits == 1:
            return bit.value
        zero, one = self._pairs.pads(bit.forward)
        product = self._correlate((zero[:, 0], one[:, 0]), bit.value, bits - 1)
        return bit.value - _2 * product

    def lookups(self, wanted: Sequence[tuple[Sequence[Bit], Lookup]]) -> list[Words]:
        shares = []
        for bits, form in wanted:
            pads = [self._pairs.pads(bit.forward, form.blocks) for bit in bits]
            sent, share = form.send(pads, own_number(bits))
            self.sent.put(sent)
            shares.append(share)
        return _packed_planes(shares, [form for _, form in wanted])

    def times(self, bit: Bit, numbers: Sequence[Words], bits: Sequence[int]) -> Later:
        blocks = -(-len(numbers) // BLOCK_WORDS)
        zero, one = self._pairs.pads(bit.forward, blocks)
        shares = []
        for at, (number, size) in enumerate(zip(numbers, bits, strict=True)):
            signed = number - _2 * bit.value * number
            share = self._correlate((zero[:, at], one[:, at]), signed, size)
            shares.append(share + bit.value * number)

        def later() -> list[Words]:
            pad = self._reverse.pad(bit.reverse, blocks)
            for at, size in enumerate(bits):
                shares[at] += self._correlated(pad[:, at], bit.mask, size)
            return shares

        return later

    def crossed(self, number: Words) -> Later:
        rows = [self._row(True) for _ in range(RING_BITS - 1)]
        choices = np.stack([self._reverse.choice(row) for row in rows])
        # Its own bits become choices: it says where they differ from what it drew.
        self.sent.put(planes_of(number)[: RING_BITS - 1] ^ choices)

        def later() -> list[Words]:
            share = self.zero
            for at, row in enumerate(rows):
                mask = np.uint64(0) - (number >> np.uint64(at) & _1)
                pad = self._reverse.pad(row)[:, 0]
                part = self._correlated(pad, mask, RING_BITS - 1 - at)
                share += part << np.uint64(at + 1)
            return [share]

        return later

    def scaled(self, bits: Sequence[Bit], number: Words) -> Later:
        share = own_number(bits) * number
        for at, bit in enumerate(bits):
            zero, one = self._pairs.pads(bit.forward)
            part = self._correlate((zero[:, 0], one[:, 0]), number, RING_BITS - at)
            share += part << np.uint64(at)

        def later() -> list[Words]:
            whole = share.copy()
            for at, bit in enumerate(bits):
                pad = self._reverse.pad(bit.reverse)[:, 0]
                part = self._correlated(pad, bit.mask, RING_BITS - at)
                whole += part << np.uint64(at)
            return [whole]

        return later

    def squared(self) -> tuple[Words, Words]:
        number = self.uniform()
        square = number * number
        for at in range(RING_BITS - 1):
            zero, one = self._pairs.pads(self._row())
            part = self._correlate((zero[:, 0], one[:, 0]), number, RING_BITS - 1 - at)
            square += part << np.uint64(at + 1)
        return number, square

    def numbers(self, planes: Words, numbers: Sequence[Words]) -> Later:
        own = Bit(planes)
        back = self._row(True)
        self.sent.put(planes ^ self._reverse.choice(back))
        row = self._row() if numbers else -1

        def later() -> list[Words]:
            pad = self._reverse.pad(back, 1 + len(numbers) // BLOCK_WORDS)
            product = self._correlated(pad[:, 0], own.mask, RING_BITS - 1)
            shares = [own.value - _2 * product]
            for at, number in enumerate(numbers):
                part = self._correlated(pad[:, 1 + at], own.mask, RING_BITS)
                shares.append(own.value * number + part)
            return self._own_terms(row, own, numbers, shares) if numbers else shares

        return later

    def _own_terms(
        self, row: int, own: Bit, numbers: Sequence[Words], shares: list[Words]
    ) -> list[Words]:
        """Message 4: this party's shares of the numbers, times P's shares of the bit."""
        theirs = np.uint64(0) - bits_of(self.received.take((self.width,)))
        zero, one = self._pairs.pads(row, -(-len(numbers) // BLOCK_WORDS))
        for at, number in enumerate(numbers):
            signed = number - _2 * own.value * number
            pair = _swapped((zero[:, at], one[:, at]), theirs)
            shares[1 + at] += self._correlate(pair, signed, RING_BITS)
        return shares

    @property
    def _reverse(self) -> Chosen:
        if self._chosen is None:
            raise TranscriptMismatch("making randomness: no reverse transfers were counted")
        return self._chosen
