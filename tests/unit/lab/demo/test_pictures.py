"""Pictures of the demo's page."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from privedge.ran import features
from privedge.ran.presets import preset
from privedge.sharing.fixed_point import encode
from privedge.sharing.split import split
from privedge_lab.demo import pictures


def spec_of(name: str):
    return preset(name, height=32, width=32, channels=1)


def test_a_data_uri_holds_the_very_pixels():
    pixmap = np.arange(48, dtype=np.uint8).reshape(6, 8)
    kind, _, coded = pictures.data_uri(pixmap).partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(coded))) as read:
        assert (np.asarray(read) == pixmap).all()


def test_pixels_are_drawn_as_they_were():
    spec = spec_of("conv32")
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32), dtype=np.uint8)
    assert (pictures.drawn(spec, features.extract(spec, image)[0]) == image[0]).all()


def test_an_upright_edge_is_drawn_upright():
    spec = spec_of("ran32")
    image = np.zeros((1, 32, 32), np.uint8)
    image[:, :, 18:] = 255
    drawn = pictures.drawn(spec, features.extract(spec, image)[0]).astype(int)
    assert drawn.max() > 100
    assert (drawn.sum(axis=0) > 0).sum() < (drawn.sum(axis=1) > 0).sum()


@pytest.mark.parametrize("name", ["conv64", "ran64", "subspace32", "subspace64", "subspace-writer"])
def test_every_preset_can_be_drawn(name):
    spec = spec_of(name)
    drawn = pictures.drawn(spec, np.full(spec.input_shape, 0.5, np.float32))
    assert drawn.dtype == np.uint8 and drawn.ndim == 2 and drawn.any()


def test_a_share_looks_like_noise_whatever_it_hides():
    share, _ = split(encode(np.zeros(4096)))
    assert 110 < pictures.noise(share).mean() < 145
