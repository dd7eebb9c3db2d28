"""The public feature maps: the same numbers everywhere, for owner and client alike."""

import json
from pathlib import Path

import numpy as np
import pytest

from privedge.errors import CheckpointError, ConfigError, ImageError
from privedge.ran.feature_kinds import (
    Cooccurrence,
    Encoder,
    Features,
    FineCooccurrence,
    Oriented,
    OrientedCentre,
    OrientedScales,
    Pixels,
)
from privedge.ran.features import extract
from privedge.ran.presets import preset
from privedge.ran.spec import ImageShape, RanSpec, Subspace

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "features.json").read_text())
FORMULA = np.array(
    [
        [[(9 * row + 16 * column + 37 * channel * row) % 256 for channel in range(3)]]
        for row in range(GOLDEN["height"])
        for column in range(GOLDEN["width"])
    ],
    np.uint8,
).reshape(1, GOLDEN["height"], GOLDEN["width"], 3)


CENTRE = OrientedCentre(cell=4, directions=16, blurs=(0.6, 1.2), left_out=(1, 2, 0, 1))
SCALES = OrientedScales(cell=4, directions=16, blurs=(0.6, 1.2))


def spec_of(features: Features, *, channels: int = 1, height: int = 16, width: int = 24) -> RanSpec:
    return RanSpec(
        name="test",
        image=ImageShape(height=height, width=width, channels=channels),
        features=features,
        layers=(Subspace(components=1),),
    )


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["case"])
def test_a_map_gives_its_test_vector(case):
    spec = spec_of(case["features"], channels=case["channels"])
    image = FORMULA if case["channels"] == 3 else FORMULA[..., 0]
    features = extract(spec, image)
    assert features.dtype == np.float32
    assert list(features.shape[1:]) == case["shape"] == list(spec.input_shape)
    np.testing.assert_allclose(features.ravel(), case["values"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "features",
    [Pixels(), Oriented(cell=4), SCALES, CENTRE, Cooccurrence(), FineCooccurrence(directions=16)],
)
def test_an_image_has_the_same_features_alone_and_among_many(features):
    images = np.random.default_rng(0).integers(0, 256, (70, 16, 24), dtype=np.uint8)
    together = extract(spec_of(features), images)
    assert np.array_equal(together[69:], extract(spec_of(features), images[69:]))


def test_a_step_to_the_right_lies_in_the_first_direction_and_one_to_the_left_in_the_fifth():
    image = np.zeros((2, 16, 24), np.uint8)
    image[0, :, 12:] = 200
    image[1, :, :12] = 200
    strength = extract(spec_of(Oriented(cell=4)), image).sum(axis=(2, 3))
    assert strength[0].argmax() == 0
    assert strength[1].argmax() == 4


def test_a_step_down_lies_in_the_third_direction():
    image = np.zeros((1, 16, 24), np.uint8)
    image[:, 8:] = 200
    strength = extract(spec_of(Oriented(cell=4)), image).sum(axis=(2, 3))
    assert strength[0].argmax() == 2
    assert (strength[0] > 0).sum() == 1


def test_the_maps_of_each_scale_stand_together_in_the_order_of_the_blurs():
    sharp, soft = (SCALES.model_copy(update={"blurs": (sigma,)}) for sigma in SCALES.blurs)
    image = FORMULA[..., 0]
    apart = [extract(spec_of(features), image) for features in (sharp, soft)]
    assert np.array_equal(extract(spec_of(SCALES), image), np.concatenate(apart, axis=1))


def test_the_centre_is_those_cells_of_the_whole_maps():
    image = FORMULA[..., 0]
    whole = extract(spec_of(SCALES), image)
    assert np.array_equal(extract(spec_of(CENTRE), image), whole[:, :, :3, 1:4])


@pytest.mark.parametrize("left_out", [(3, 3, 0, 0), (4, 4, 0, 0), (0, 0, 2, 2), (4, 4, 3, 2)])
def test_a_centre_of_no_cells_is_refused(left_out):
    spec = spec_of(CENTRE.model_copy(update={"left_out": left_out}))
    with pytest.raises(CheckpointError, match="empty"):
        RanSpec.from_json(spec.to_json())


def test_finer_directions_tell_slopes_apart_that_coarse_ones_do_not():
    rows, columns = np.mgrid[:16, :24]
    # Edges at 0 and 22.5 degrees: neighbours among sixteen directions.
    slopes = [np.cos(angle) * (columns - 12) + np.sin(angle) * (rows - 8) for angle in (0, 0.3927)]
    images = np.stack([np.where(slope > 0, 200, 0) for slope in slopes]).astype(np.uint8)
    strength = extract(spec_of(SCALES), images)[:, 16:].sum(axis=(2, 3))
    assert list(strength.argmax(axis=1)) == [0, 1]


@pytest.mark.parametrize(
    "features", [Oriented(cell=4), SCALES, Cooccurrence(), FineCooccurrence(directions=16)]
)
def test_a_blank_image_has_no_features(features):
    assert not extract(spec_of(features), np.full((1, 16, 24), 77, np.uint8)).any()


def test_each_cooccurrence_matrix_sums_to_one_before_the_root():
    features = extract(spec_of(Cooccurrence()), FORMULA[..., 0])
    np.testing.assert_allclose((features.reshape(6, 144) ** 2).sum(axis=1), 1, rtol=1e-5)


def test_a_fine_cooccurrence_of_twelve_directions_is_the_plain_one():
    plain, fine = (
        extract(spec_of(features), FORMULA[..., 0])
        for features in (Cooccurrence(), FineCooccurrence(directions=12))
    )
    assert np.array_equal(plain, fine)


def test_a_grey_image_is_repeated_for_a_colour_spec():
    spec = preset("paper", height=32, width=32, channels=1)
    grey = np.random.default_rng(1).integers(0, 256, (2, 32, 32), dtype=np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=3)
    assert np.array_equal(extract(spec, grey), extract(spec, colour))


def test_no_images_have_no_features():
    spec = preset("ran32", height=32, width=32, channels=1)
    assert extract(spec, np.zeros((0, 32, 32), np.uint8)).shape == (0, 8, 8, 8)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 16, 16), np.uint8),
        np.zeros((1, 16, 24), np.float32),
        np.zeros((1, 16, 24, 3), np.uint8),
        np.zeros((16, 24), np.uint8),
    ],
)
def test_images_of_another_size_or_type_are_refused(images):
    with pytest.raises(ImageError, match="images: expected"):
        extract(spec_of(Pixels()), images)


def test_a_spec_with_an_encoder_asks_for_its_file():
    spec = spec_of(Encoder(sha256="0" * 64, output=(4,)))
    with pytest.raises(ConfigError, match="--encoder"):
        extract(spec, FORMULA[..., 0])
