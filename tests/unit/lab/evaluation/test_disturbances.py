"""What disturbances do to images: shape kept, the mildest level nothing, strong ones much."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from privedge.errors import ConfigError
from privedge_lab.evaluation.disturbances import LEVELS, REFERENCE, Disturbance, chosen


def pictures(count=3, height=16, width=24, channels=None, seed=0):
    """Smooth on the left and noisy on the right, as pictures are."""
    shape = (count, height, width) + (() if channels is None else (channels,))
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, shape)
    images[:, :, : width // 2] = 100 + rng.integers(0, 20, shape)[:, :, : width // 2]
    return images.astype(np.uint8)


def off_by(one, other):
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@st.composite
def disturbances(draw):
    name = draw(st.sampled_from([*LEVELS]))
    if name == "jpeg":
        return Disturbance(name, draw(st.integers(1, 100)))
    most = {"blur": 6, "noise": 255, "brightness": 4}[name]
    return Disturbance(name, draw(st.floats(0, most)))


@settings(max_examples=80, deadline=None)
@given(
    disturbances(),
    st.integers(1, 3),
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from([None, 3]),
    st.integers(0, 99),
)
def test_an_image_stays_an_image(disturbance, count, height, width, channels, seed):
    images = pictures(count, height, width, channels, seed)
    before = images.copy()
    found = disturbance.applied(images, seed)
    assert found.shape == images.shape and found.dtype == np.uint8
    assert np.array_equal(images, before)
    assert np.array_equal(found, disturbance.applied(images, seed))


@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize(
    "nothing",
    [REFERENCE, Disturbance("blur", 0), Disturbance("noise", 0), Disturbance("brightness", 1)],
)
def test_the_level_that_changes_nothing_changes_nothing(nothing, channels):
    images = pictures(channels=channels)
    assert np.array_equal(nothing.applied(images, 0), images)


@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("name", [*LEVELS])
def test_a_stronger_level_changes_more(name, channels):
    images = pictures(channels=channels)
    levels = [level for level in LEVELS[name] if name != "brightness" or level < 1]
    changes = [off_by(Disturbance(name, level).applied(images, 0), images) for level in levels]
    assert changes[0] > 0 and changes == sorted(changes)


@pytest.mark.parametrize("channels", [None, 3])
def test_jpeg_is_what_a_file_of_that_quality_holds(channels):
    images = pictures(channels=channels)
    found = Disturbance("jpeg", 10).applied(images, 0)
    for image, disturbed in zip(images, found, strict=True):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=10)
        assert np.array_equal(np.asarray(Image.open(file)), disturbed)


@pytest.mark.parametrize("channels", [None, 3])
def test_blur_keeps_the_mean_and_mixes_neither_images_nor_colours(channels):
    images = np.zeros((2, 15, 15) + (() if channels is None else (channels,)), np.uint8)
    first = (0, 7, 7) if channels is None else (0, 7, 7, 1)
    images[first] = 255
    found = Disturbance("blur", 1).applied(images, 0)
    assert 0 < found[first] < 60 and found.sum() == pytest.approx(255, abs=20)
    assert not found[1].any()
    if channels:
        assert not found[0, :, :, 0].any() and not found[0, :, :, 2].any()


def test_noise_has_its_standard_deviation_and_depends_on_the_seed():
    images = np.full((2, 40, 40), 128, np.uint8)
    noisy = Disturbance("noise", 20).applied(images, 1)
    assert (noisy.astype(float) - 128).std() == pytest.approx(20, rel=0.1)
    assert not np.array_equal(noisy, Disturbance("noise", 20).applied(images, 2))
    assert not np.array_equal(noisy[0], noisy[1])


def test_brightness_is_a_factor_that_stops_at_white():
    images = np.array([[[0, 10, 100, 200]]], np.uint8)
    assert Disturbance("brightness", 0.5).applied(images, 0).tolist() == [[[0, 5, 50, 100]]]
    assert Disturbance("brightness", 2).applied(images, 0).tolist() == [[[0, 20, 200, 255]]]


def test_kinds_are_chosen_with_their_own_levels_or_the_usual_ones():
    assert chosen("jpeg:50:5,blur:1.5") == [
        *(Disturbance("jpeg", 50), Disturbance("jpeg", 5), Disturbance("blur", 1.5))
    ]
    assert [each.level for each in chosen("noise")] == [*LEVELS["noise"]]
    assert len(chosen("jpeg,jpeg:90")) == len(LEVELS["jpeg"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fog", "choose from"),
        ("fog:2", "choose from"),
        ("", "choose from"),
        ("jpeg:x", "numbers"),
        ("jpeg:0", "from 1 to 100"),
        ("jpeg:2.5", "from 1 to 100"),
        ("blur:-1", "from 0"),
        ("noise:nan", "from 0"),
        ("brightness:inf", "from 0"),
    ],
)
def test_a_disturbance_that_means_nothing_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        chosen(text)
