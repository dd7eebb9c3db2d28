"""Which specs have narrow words, and which inputs the parties answer at all."""

import numpy as np
import pytest

from privedge.errors import RangeError
from privedge.ran import narrow
from privedge.ran.feature_kinds import Encoder, Vector
from privedge.ran.presets import PRESETS, behind_encoder, preset
from privedge.ran.spec import ImageShape, RanSpec, Subspace
from privedge.sharing.fixed_point import encode

IMAGE = ImageShape(height=32, width=32, channels=1)
SHA = "0" * 64


def of_vectors(size: int, **kind: bool) -> RanSpec:
    return preset("vector", size=size, components=1, **kind)


def test_a_single_subspace_has_narrow_words_and_a_network_in_layers_has_not():
    for name in PRESETS:
        spec = preset(name, height=64, width=64)
        single = isinstance(spec.layers[0], Subspace)
        assert narrow.word_bits(spec) == (24 if single else 64)
        assert (narrow.norms(spec) is not None) == single


@pytest.mark.parametrize(
    ("size", "unit", "plain"),
    [(2, 24, 26), (1 << 10, 24, 26), ((1 << 10) + 1, 24, 25), (1 << 14, 24, 24), (1 << 16, 23, 23)],
)
def test_words_are_as_wide_as_the_sum_of_their_squares_lets_them(size, unit, plain):
    for wanted, spec in ((unit, of_vectors(size, unit_length=True)), (plain, of_vectors(size))):
        assert narrow.word_bits(spec) == wanted
        assert size * (0.75 * 2**wanted) ** 2 < 2**62


def test_the_largest_pictures_keep_wide_words_or_enough_bits_for_values_below_4():
    for side in (256, 1024):
        spec = RanSpec(
            name="pixels",
            image=ImageShape(height=side, width=side, channels=3),
            features={"kind": "pixels"},
            layers=(Subspace(components=1),),
        )
        bits = narrow.word_bits(spec)
        assert bits >= 20 and 3 * side**2 * (0.75 * 2**bits) ** 2 < 2**62


def test_a_threshold_stays_wide():
    spec = of_vectors(8)
    widths = {name: narrow.tensor_bits(spec, name) for name in spec.parameters()}
    assert widths == {"0.basis": 26, "0.mean": 26, "threshold": 64}


def test_an_encoder_has_a_norm_to_keep_only_if_its_output_is_brought_to_a_length():
    for unit in (True, False):
        encoder = Encoder(sha256=SHA, output=(8,), unit_length=unit)
        spec = behind_encoder("subspace-encoder", encoder, IMAGE)
        assert bool(narrow.norms(spec).least) == unit


@pytest.mark.parametrize(
    ("unit", "values", "said"),
    [
        (True, [1, 0], None),
        (True, [0.97, 0], None),
        (True, [0.9, 0], "0.9375 or more"),
        (True, [1.04, 0], "below 1.0625"),
        (True, [0, 0], "0.9375 or more"),
        (False, [0, 0], None),
        (False, [127, 10], None),
        (False, [127, 30], "below 16384"),
        (False, [0, 256], "a value reaches 256"),
        (False, [-256, 0], "a value reaches 256"),
    ],
)
def test_what_would_be_answered_with_unknown_is_refused_on_the_device(unit, values, said):
    spec = RanSpec(
        name="vector",
        image=None,
        features=Vector(size=2, unit_length=unit),
        layers=(Subspace(components=1),),
    )
    words = encode(np.array([[1, 0], values]))
    if said is None:
        narrow.require_valid(spec, words)
    else:
        with pytest.raises(RangeError, match=f"query: .*({said})"):
            narrow.require_valid(spec, words)


def test_wide_words_are_brought_to_the_width_of_the_spec():
    spec = of_vectors(16, unit_length=True)
    wide = bytes(range(16)) * 8
    assert narrow.as_narrow(wide, 64, spec) == b"".join(wide[i : i + 3] for i in range(0, 128, 8))
    assert narrow.as_narrow(wide[:48], 24, spec) == wide[:48]
