"""How wide the words of a spec's inputs and parameters are, and how long an input may be.

All public, and functions of the spec alone (docs/protocol.md#narrow-words). With narrow words every
byte string is a share of some input, and no sum of squares of inputs can leave the ring.
"""

import math
from dataclasses import dataclass

import numpy as np

from privedge.errors import RangeError
from privedge.graph.spec import WORD_BITS, ModelSpec
from privedge.ran.any_spec import Spec
from privedge.ran.feature_kinds import Encoder, Vector
from privedge.ran.model_bounds import most_energy
from privedge.ran.spec import RanSpec, Subspace
from privedge.sharing.fixed_point import FRACTIONAL_BITS
from privedge.sharing.ring import RING_BITS, Words, from_bytes, to_bytes, width

# Three bytes, for values below 64. Vectors that nobody brings to a length may need values up to
# 181, the root of 2^15: four bytes.
_MOST_BITS, _MOST_OF_VECTORS = 24, 26
# Values below 4 must fit.
_FEWEST_BITS = 20
# At scale 2f.
_ONE = 1 << 2 * FRACTIONAL_BITS


@dataclass(frozen=True)
class Norms:
    """What |x|^2 of a valid input x is: at least `least`, and below `bound`; at scale 2f.

    slack: how far below 0 rounding may bring a dissimilarity, at scale 2f.
    summed: of so many inputs, valid or not, the sum of |x|^2 stays below 2^63; 3 or more.
    """

    least: int
    bound: int
    slack: int
    summed: int

    def parts(self, images: int) -> list[tuple[int, int]]:
        """Where parts of so many images start and stop whose sums stay in the ring: one, unless
        the inputs are long.
        """
        starts = range(0, images, self.summed)
        return [(start, min(start + self.summed, images)) for start in starts]


def word_bits(spec: Spec) -> int:
    """Return how many bits a word of an input has: 20 to 26, or 64 where words stay wide.

    Of RANs only a single subspace has narrow words: D inputs below 0.75 * 2^bits in absolute value
    then have a sum of squares below 2^62. Other models always have: whatever is sent is below 192.
    """
    if isinstance(spec, ModelSpec):
        return WORD_BITS
    if len(spec.layers) != 1 or not isinstance(spec.layers[0], Subspace):
        return RING_BITS
    most = _MOST_BITS if _unit_length(spec) is not False else _MOST_OF_VECTORS
    size = math.prod(spec.input_shape)
    bits = min(most, (RING_BITS - 2 - (size - 1).bit_length()) // 2)
    return bits if bits >= _FEWEST_BITS else RING_BITS


def tensor_bits(spec: Spec, name: str) -> int:
    """The same for a word of a parameter. A threshold stays wide: it is compared, not multiplied,
    and decides about its owner's answers alone. So do the parameters of a model that is no RAN.
    """
    wide = name == "threshold" or isinstance(spec, ModelSpec)
    return RING_BITS if wide else word_bits(spec)


def as_narrow(raw: bytes, bits: int, spec: Spec) -> bytes:
    """Bring the wire form of inputs, words of `bits` bits, to the width of the spec's."""
    wanted = word_bits(spec)
    if bits == wanted:
        return raw
    return to_bytes(from_bytes(raw, (len(raw) // width(bits),), bits), wanted)


def norms(spec: RanSpec) -> Norms | None:
    """Return what is asked of an input; None for wide words, whose squares may leave the ring."""
    if (bits := word_bits(spec)) == RING_BITS:
        return None
    # A widened word is below 0.75 * 2^bits in absolute value, whatever was sent.
    largest = math.prod(spec.input_shape) * (3 << (bits - 2)) ** 2
    summed = (1 << (RING_BITS - 1)) // largest
    if _unit_length(spec):
        return Norms(_ONE - _ONE // 16, _ONE + _ONE // 16, _ONE >> 12, summed)
    # Then |x - m|^2 < 2^16 for a mean m that is no longer, and 32 such stay below 2^53 at 2f.
    return Norms(0, _ONE << 14, _ONE >> 4, summed)


def distances(spec: RanSpec, images: int) -> tuple[int, int] | None:
    """Between which whole numbers at scale 2f the dissimilarity of `images` images lies, summed as
    of one subject, of a valid input to a model that keeps to the bounds of model_bounds.py; None
    where nothing bounds it.

    Such a model has V V' <= (1 + 1/8) I, so d is at least -|x - m|^2 / 8, and at most |x - m|^2.
    """
    wanted = norms(spec)
    if wanted is None:
        return None
    longest = _root(wanted.bound) + _root(int(most_energy(spec) * _ONE))
    most = images * longest**2
    return -(most // 8) - images * wanted.slack, most


def _root(square: int) -> int:
    """The square root, rounded up."""
    return math.isqrt(square - 1) + 1


def require_valid(spec: RanSpec, words: Words) -> None:
    """Check inputs, uint64 (n, *input_shape), before they are shared: the parties answer an invalid
    one with "unknown".

    Raises RangeError.
    """
    wanted = norms(spec)
    if wanted is None:
        return
    require_narrow(words, word_bits(spec), "query")
    squares = np.square(words.reshape(len(words), -1).view(np.int64)).sum(axis=1)
    if ((squares < wanted.least) | (squares >= wanted.bound)).any():
        raise RangeError(
            "query: its features are too short or too long: the sum of their squares must be "
            f"{wanted.least / _ONE:g} or more, and below {wanted.bound / _ONE:g}"
        )


def require_narrow(words: Words, bits: int, what: str) -> None:
    """Check that widening gives these words, uint64 of any shape, back. Raises RangeError."""
    limit = 1 << (bits - 2)
    if bits < RING_BITS and words.size and np.abs(words.view(np.int64)).max() >= limit:
        raise RangeError(f"{what}: a value reaches {limit >> FRACTIONAL_BITS}; scale the data down")


def _unit_length(spec: RanSpec) -> bool | None:
    """Whether inputs have the length 1; None for features that are never far from it."""
    kind = spec.features
    if isinstance(kind, Vector):
        return kind.unit_length
    return True if isinstance(kind, Encoder) and kind.unit_length else None
