"""W * B for a fixed W that one party has and a fresh B of the other: re-randomised hints.

For layers whose inputs are each owner's own, and convolutions. K has a share W of the weights, F a
share B of the mask of an input. Both get shares of W * B modulo 2^64 (docs/adr/0050). Polynomial o
of W has the kernels of some maps, backwards (layers.py); a and a_pk are public, streams of a nonce,
an a for each input of an image:

    once      K   v_o ternary, fresh for each o
                  H_o = W_o a + a_pk v_o + e_o                                         ->
    an image  F   s ternary, fresh
                  b_pk = a_pk s + e,  b = a s + e' + 2^152 B                           ->
              K   y_o = W_o b + b_pk v_o + R_o, R_o uniform modulo q                   <-
                  keeps -floor(R_o / 2^152)
              F   keeps floor((y_o - H_o s) / 2^152)

y_o is sent at the outputs' places only, and R_o is drawn for those. What K gets: samples of ring
LWE in s, which nobody else has. What F gets: H_o, a sample in v_o, hides W_o; y_o is uniform by R_o
and all that it tells is the result. No (secret, a) comes twice: each v_o meets a_pk once, each s
meets a_pk and each a once. Under one pair, two samples would show the difference of what they hide.

    y_o - H_o s = 2^152 W_o B + R_o + (W_o e' + e v_o - e_o s)

What is in brackets is below 2^(63 + 13 + 4.4) for each polynomial of an input. Of b the lowest 27
bits are left out, which adds at most 2^(27 + 63 + 13) for each; of H_o, b_pk and y_o the low 81
bits, and products of large polynomials are off by less than 2^82 (ring.py), which with ternary s
and v_o adds less than 2^98. So a result is off by one unit if R_o modulo 2^152 is within 2^103.1 of
an end: with a probability of at most 2^-47 for an input of one polynomial, twice that for two, and
so on. R_o is uniform, so that tells nothing of W or B but with that probability.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from parties.mpc.prg import KEY_BYTES, KeyStream
from parties.mpc.twoparty import ring
from parties.mpc.twoparty.encrypted import add_combined, sample
from parties.mpc.twoparty.layers import Block, Layer
from privedge.errors import TranscriptMismatch
from privedge.sharing.ring import Words

# Of H_o, b_pk and y_o these digits are sent: the high 135 bits.
SENT = 5
# Of b these digits are sent; with the words of W, the lowest would be lost in the errors.
_SENT_OF_B = ring.LIMBS - 1
_TOP_BYTES = ring.DEGREE * ring.coefficient_bytes(SENT)
_B_BYTES = ring.DEGREE * ring.coefficient_bytes(_SENT_OF_B)
# So many numbers that are gathered take as long as one product by transforms.
_GATHERED = 7000
_PUBLIC_KEY = (-1, -1)


@dataclass(frozen=True)
class Asked:
    """F's secret of one image. No useful repr."""

    secret: ring.Transform = field(repr=False)


class _Places:
    """Where the maps of one block are in polynomials: see layers.py."""

    def __init__(self, layer: Layer, block: Block) -> None:
        self.layer = layer
        self.chunk, self._taps = np.divmod(block.taps, layer.span)
        self._turn = int(self._taps.max())
        self._pixels = block.pixels

    @cached_property
    def kernels(self) -> npt.NDArray[np.int64]:
        """The coefficient of each tap of each map in a polynomial, (together, T)."""
        return self._maps - self._taps + self._turn

    @cached_property
    def results(self) -> npt.NDArray[np.int64]:
        """The coefficient of each output of each map, (together * P,)."""
        return (self._maps + self._turn + self._pixels).reshape(-1)

    @cached_property
    def gathered(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Which coefficient of b each coefficient of `kernels` meets in each result, and whether
        its sign is changed: (together * T, together * P).
        """
        met = self.results[None, :] - self.kernels.reshape(-1)[:, None]
        return met % ring.DEGREE, met < 0

    @property
    def few(self) -> bool:
        """Whether sums are made one by one."""
        size = self.kernels.size * self.results.size
        return size <= _GATHERED * self.layer.polynomials

    def polynomials(self, weight: Words) -> Words:
        """An owner's weight (outputs, T) by polynomials: (polynomials, together, T)."""
        outputs, taps = weight.shape
        whole = np.zeros((self.layer.polynomials * self.layer.together, taps), np.uint64)
        whole[:outputs] = weight
        return whole.reshape(self.layer.polynomials, self.layer.together, taps)

    def transforms(self, polynomial: Words) -> list[ring.Transform]:
        """W_o for each chunk of the input, from one of `polynomials`."""
        found = []
        for chunk in range(self.layer.chunks):
            words, taps = np.zeros(ring.DEGREE, np.uint64), self.chunk == chunk
            words[self.kernels[:, taps]] = polynomial[:, taps]
            found.append(ring.finely_of_words(words))
        return found

    def outputs(self, results: Words) -> Words:
        """(polynomials, together * P) -> (outputs, P)."""
        kept: Words = results.reshape(-1, len(self._pixels))[: self.layer.outputs]
        return kept

    @property
    def _maps(self) -> npt.NDArray[np.int64]:
        return np.arange(self.layer.together)[:, None] * self.layer.span


class WeightHolder:
    """K, for one weight. Its secrets have no useful repr."""

    def __init__(self, layer: Layer, weights: list[Words], nonce: bytes) -> None:
        """`weights`: this party's share, of `Layer.weights`. `nonce`: fresh, from both parties."""
        self._layer, self._weights, self._nonce = layer, weights, nonce
        self._places = [_Places(layer, block) for block in layer.blocks]
        stream = ring.fresh()
        shape = (layer.owners, len(layer.blocks), layer.polynomials)
        # v_o, as int8: their transforms would take eight times as much.
        self._secrets = np.empty((*shape, ring.DEGREE), np.int8)
        for at in np.ndindex(shape):
            self._secrets[at] = ring.ternary(stream)
        self._stream = stream

    def messages(self) -> Iterator[bytes]:
        """What is sent once: H_o of each owner, block and polynomial."""
        key = ring.transformed(ring.centred(_public(self._nonce, *_PUBLIC_KEY)))
        layer = self._layer
        for owner in range(layer.owners):
            if owner < layer.groups:
                of = [_public(self._nonce, owner, chunk) for chunk in range(layer.chunks)]
                inputs = [ring.finely(a) for a in of]
            for block, places in enumerate(self._places):
                whole = places.polynomials(self._weights[block][owner])
                for o, polynomial in enumerate(whole):
                    secret = ring.transformed(self._secrets[owner, block, o].astype(np.int64))
                    hint = sample(key, secret, self._stream)
                    for a, factor in zip(inputs, places.transforms(polynomial), strict=True):
                        hint += ring.large_product(a, factor)
                    yield ring.to_bytes(ring.carried(hint)[-SENT:])

    def reply(self, message: bytes) -> tuple[bytes, list[Words]]:
        """What answers F's message of one image, and K's shares of the outputs of each block,
        (owners, outputs, P). Raises TranscriptMismatch.
        """
        layer = self._layer
        if len(message) != message_bytes(layer):
            raise TranscriptMismatch("hints: a message of the wrong length")
        key = ring.transformed(ring.centred(ring.from_bytes(message[:_TOP_BYTES], SENT)))
        stream, sent, shares = ring.fresh(), [], []
        for owner in range(layer.owners):
            if owner < layer.groups:
                inputs = _Inputs(_sent_inputs(message, owner * layer.chunks, layer.chunks))
            for block in range(len(self._places)):
                own, share = self._answered(owner, block, inputs, key, stream)
                sent.append(own)
                shares.append(share)
        parts = [np.stack(shares[at :: len(self._places)]) for at in range(len(self._places))]
        return b"".join(sent), parts

    def _answered(
        self, owner: int, block: int, inputs: "_Inputs", key: ring.Transform, stream: KeyStream
    ) -> tuple[bytes, Words]:
        places = self._places[block]
        sums = inputs.summed(places, places.polynomials(self._weights[block][owner]))
        for o, secret in enumerate(self._secrets[owner, block]):
            hidden = ring.multiplied(key, ring.transformed(secret.astype(np.int64)))
            sums[-SENT:, o] += hidden[:, places.results]
        # R is uniform modulo all of q, and so is what is sent.
        mask = ring.uniform(stream, *sums.shape[1:])
        sent = ring.carried(sums + mask)[-SENT:]
        return ring.to_bytes(sent.reshape(SENT, -1)), places.outputs(
            np.uint64(0) - ring.unscaled(mask)
        )


class _Inputs:
    """b of one input, digits (LIMBS, DEGREE) a chunk, the lowest zero; K's side."""

    def __init__(self, chunks: list[ring.Poly]) -> None:
        self._chunks = chunks

    @cached_property
    def _transforms(self) -> list[ring.Transform]:
        return [ring.finely(b) for b in self._chunks]

    def summed(self, places: _Places, polynomials: Words) -> ring.Poly:
        """W_o b at the places of results, (LIMBS, polynomials, together * P)."""
        sums = np.zeros((ring.LIMBS, len(polynomials), len(places.results)), np.int64)
        if places.few:
            met, negated = places.gathered
            chunk = np.tile(places.chunk, places.layer.together)
            for at, b in enumerate(self._chunks):
                rows = chunk == at
                digits = b[-_SENT_OF_B:, met[rows]]
                np.negative(digits, out=digits, where=negated[rows])
                own = polynomials.reshape(len(polynomials), -1)[:, rows]
                add_combined(sums, own, digits)
            return sums
        for o, polynomial in enumerate(polynomials):
            factors = places.transforms(polynomial)
            for input_, factor in zip(self._transforms, factors, strict=True):
                sums[:, o] += ring.large_product(input_, factor)[:, places.results]
        return sums


class MaskHolder:
    """F, for one weight of the other party."""

    def __init__(self, layer: Layer, nonce: bytes) -> None:
        self._layer, self._nonce = layer, nonce
        self._places = [_Places(layer, block) for block in layer.blocks]
        shape = (layer.owners, len(layer.blocks), layer.polynomials)
        # The high digits of H_o.
        self._hints = np.empty((*shape, SENT, ring.DEGREE), np.int32)
        self._left = iter(np.ndindex(shape))

    @staticmethod
    def memory(layer: Layer) -> int:
        """Bytes that both roles of a party keep for as long as the weight is, beside the weight."""
        count = layer.owners * len(layer.blocks) * layer.polynomials
        return count * ring.DEGREE * (4 * SENT + 1)

    def take(self, message: bytes) -> None:
        """The next of WeightHolder.messages. Raises TranscriptMismatch."""
        at = next(self._left, None)
        if at is None or len(message) != _TOP_BYTES:
            raise TranscriptMismatch("hints: a message of the wrong length")
        self._hints[at] = ring.centred(ring.from_bytes(message, SENT))

    def ask(self, rows: Words) -> tuple[bytes, Asked]:
        """The message of one image, and what `shares` needs. rows: of `Layer.rows`, (groups,
        chunks, span).
        """
        stream = ring.fresh()
        # A secret of this image alone.
        secret = ring.transformed(ring.ternary(stream))
        key = ring.transformed(ring.centred(_public(self._nonce, *_PUBLIC_KEY)))
        sent = [ring.to_bytes(ring.carried(sample(key, secret, stream))[-SENT:])]
        for group, chunks in enumerate(rows):
            for chunk, words in enumerate(chunks):
                a = ring.transformed(ring.centred(_public(self._nonce, group, chunk)))
                hidden = sample(a, secret, stream)
                hidden[:, : len(words)] += ring.scaled(words)
                sent.append(ring.to_bytes(ring.carried(hidden)[-_SENT_OF_B:]))
        return b"".join(sent), Asked(secret)

    def shares(self, asked: Asked, reply: bytes) -> list[Words]:
        """F's shares of the outputs of each block, (owners, outputs, P). Raises TranscriptMismatch
        for a reply of the wrong length, and before all of WeightHolder.messages are there.
        """
        if len(reply) != reply_bytes(self._layer) or next(self._left, None) is not None:
            raise TranscriptMismatch("hints: a reply of the wrong length")
        parts: list[list[Words]] = [[] for _ in self._places]
        first = 0
        for owner in range(self._layer.owners):
            for block, places in enumerate(self._places):
                hints = self._hints[owner, block]
                size = len(hints) * len(places.results) * ring.coefficient_bytes(SENT)
                sent = ring.from_bytes(reply[first : first + size], SENT)
                first += size
                difference = sent.reshape(SENT, len(hints), -1).copy()
                for o, hint in enumerate(hints):
                    hidden = ring.multiplied(ring.transformed(hint), asked.secret)
                    difference[:, o] -= hidden[:, places.results]
                parts[block].append(places.outputs(ring.unscaled(ring.carried(difference))))
        return [np.stack(part) for part in parts]


def message_bytes(layer: Layer) -> int:
    """The size of F's message of one image."""
    return _TOP_BYTES + layer.groups * layer.chunks * _B_BYTES


def reply_bytes(layer: Layer) -> int:
    """The size of K's answer to it."""
    outputs = sum(len(block.pixels) for block in layer.blocks)
    maps = layer.owners * layer.polynomials * layer.together
    return maps * outputs * ring.coefficient_bytes(SENT)


def _public(nonce: bytes, group: int, chunk: int) -> ring.Poly:
    """a of one polynomial of one input, or a_pk for (-1, -1): the same at both parties."""
    text = b"privedge hints v1" + len(nonce).to_bytes(8, "little") + nonce
    text += (group + 1).to_bytes(8, "little") + (chunk + 1).to_bytes(8, "little")
    return ring.uniform(KeyStream(hashlib.sha256(text).digest()[:KEY_BYTES]), ring.DEGREE)


def _sent_inputs(message: bytes, first: int, count: int) -> list[ring.Poly]:
    """Polynomials b of a message, with the digit that is not sent."""
    found = []
    for at in range(first, first + count):
        start = _TOP_BYTES + at * _B_BYTES
        digits = ring.from_bytes(message[start : start + _B_BYTES], _SENT_OF_B)
        found.append(np.concatenate([np.zeros((1, ring.DEGREE), np.int64), digits]))
    return found
