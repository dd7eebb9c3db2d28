"""Ring, fixed point, split and combine: what a share is, and that it shows nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from privedge.errors import RangeError, ShareError
from privedge.sharing import fixed_point, ring
from privedge.sharing.combine import combine
from privedge.sharing.split import split
from tests.chance import SIGMAS, from_uniform

shapes = arrays.array_shapes(min_dims=1, max_dims=4, max_side=5)
words = arrays.arrays(np.uint64, shapes)
reals = st.floats(-fixed_point.LIMIT, fixed_point.LIMIT, exclude_min=True, exclude_max=True)


@given(words)
def test_two_shares_add_up_to_the_secret(secret):
    share_0, share_1 = split(secret)
    assert share_0.dtype == share_1.dtype == np.uint64
    assert share_0.shape == share_1.shape == secret.shape
    np.testing.assert_array_equal(combine(share_0, share_1), secret)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_a_scalar_and_an_empty_array_can_be_split(shape):
    secret = np.full(shape, 7, dtype=np.uint64)
    np.testing.assert_array_equal(combine(*split(secret)), secret)


@given(words, words)
def test_shares_can_be_added_without_knowing_what_they_hide(one, other):
    other = np.resize(other, one.shape)
    sums = [a + b for a, b in zip(split(one), split(other), strict=True)]
    np.testing.assert_array_equal(combine(*sums), one + other)


def test_the_same_secret_is_masked_afresh_each_time():
    secret = fixed_point.encode(np.ones(8))
    shares = {share.tobytes() for _ in range(50) for share in split(secret)}
    assert len(shares) == 100


def test_a_split_leaves_the_secret_as_it_was():
    secret = fixed_point.encode(np.ones(8))
    split(secret)
    np.testing.assert_array_equal(secret, fixed_point.encode(np.ones(8)))


@pytest.mark.parametrize("party", [0, 1])
@pytest.mark.parametrize("secret", [0, 1, 1 << 16, (1 << 64) - 1])
def test_each_share_alone_is_uniform_whatever_the_secret(party, secret):
    share = split(np.full(50_000, secret, dtype=np.uint64))[party]
    counts = np.bincount(share.view(np.uint8), minlength=256)
    assert abs(from_uniform(counts)) < SIGMAS


def test_shares_of_different_shape_are_refused():
    share = np.zeros((2, 3), dtype=np.uint64)
    with pytest.raises(ShareError, match=r"\(2, 3\) and \(3, 2\)"):
        combine(share, share.reshape(3, 2))
    with pytest.raises(ShareError):
        combine(share, share[:1])


@given(arrays.arrays(np.float64, shapes, elements=reals))
def test_reals_survive_to_half_a_unit_in_the_last_place(values):
    decoded = fixed_point.decode(fixed_point.encode(values))
    assert decoded.shape == values.shape
    assert np.abs(decoded - values).max() <= 0.5 / fixed_point.SCALE


@given(reals, reals)
def test_a_product_of_two_encodings_reads_at_twice_the_scale(one, other):
    product = fixed_point.encode([one]) * fixed_point.encode([other])
    exact = np.rint(one * fixed_point.SCALE) * np.rint(other * fixed_point.SCALE)
    if abs(exact) < 1 << 62:
        decoded = fixed_point.decode(product, fractional_bits=32)
        np.testing.assert_allclose(decoded, exact / 2.0**32, rtol=1e-15)


BAD = [float("nan"), float("inf"), float("-inf"), 1e30, -1e30]


@pytest.mark.parametrize("value", [*BAD, fixed_point.LIMIT, -fixed_point.LIMIT])
def test_what_would_wrap_is_refused_and_named_but_not_quoted(value):
    with pytest.raises(RangeError, match=r"^0\.weight: ") as refusal:
        fixed_point.encode([0.5, value], what="0.weight")
    assert "0.5" not in str(refusal.value)


def test_nothing_at_all_can_be_encoded():
    assert fixed_point.encode([]).shape == (0,)


@given(words)
def test_words_survive_the_wire(values):
    raw = ring.to_bytes(values)
    assert len(raw) == ring.WORD_BYTES * values.size
    np.testing.assert_array_equal(ring.from_bytes(raw, values.shape), values)
    np.testing.assert_array_equal(ring.from_bytes(memoryview(raw), values.shape), values)


def test_words_are_little_endian_and_row_major():
    values = np.array([[1, 2], [3, 1 << 63]], dtype=np.uint64)
    raw = b"".join(int(word).to_bytes(8, "little") for word in (1, 2, 3, 1 << 63))
    for same in (values, values.T.copy().T):
        assert ring.to_bytes(same) == raw
        assert ring.wire_view(same) == raw


@given(words, st.integers(1, 20))
def test_bytes_that_do_not_fill_the_shape_are_refused(values, missing):
    raw = ring.to_bytes(values)
    for wrong in (raw[:-missing], raw + b"\0" * missing):
        with pytest.raises(ShareError, match="expected"):
            ring.from_bytes(wrong, values.shape)


@given(words, st.integers(4, 64))
def test_narrow_words_survive_the_wire_and_bits_above_them_do_not(values, bits):
    raw = ring.to_bytes(values, bits)
    assert len(raw) == ring.width(bits) * values.size
    low = values & np.uint64((1 << bits) - 1)
    np.testing.assert_array_equal(ring.from_bytes(raw, values.shape, bits), low)
    # What fills up the last byte is not looked at.
    filled = np.frombuffer(raw, np.uint8).reshape(-1, ring.width(bits)).copy()
    filled[:, -1] |= 0xFF << (bits % 8 or 8) & 0xFF
    np.testing.assert_array_equal(ring.from_bytes(filled.tobytes(), values.shape, bits), low)


@given(words, st.integers(4, 64))
def test_shares_of_the_ring_are_shares_modulo_every_smaller_power_of_two(secret, bits):
    narrow = [
        ring.from_bytes(ring.to_bytes(share, bits), secret.shape, bits) for share in split(secret)
    ]
    ones = np.uint64((1 << bits) - 1)
    np.testing.assert_array_equal(combine(*narrow) & ones, secret & ones)


def test_narrow_words_are_their_low_bytes():
    values = np.array([1, (1 << 64) - 2, 0x123456789], dtype=np.uint64)
    assert ring.to_bytes(values, 24).hex() == "010000 feffff 896745".replace(" ", "")
    assert ring.to_bytes(values, 26).hex() == "01000000 feffff03 89674503".replace(" ", "")
    with pytest.raises(ShareError, match="expected 9 bytes"):
        ring.from_bytes(bytes(24), (3,), 24)
