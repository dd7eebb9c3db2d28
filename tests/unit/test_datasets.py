"""Labelled sets: read, refused, split."""

import numpy as np
import pytest
import torch

from privedge import datasets
from privedge.errors import ImageError

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
LABELS = np.repeat(np.arange(4), 10)


def test_pixels_become_channels_first_in_0_to_1(tmp_path):
    colour = np.repeat(IMAGES[..., None], 3, axis=3)
    np.savez(tmp_path / "set.npz", images=colour, labels=LABELS, gender=LABELS % 2, names=["a"])
    data = datasets.read(tmp_path / "set.npz")
    assert data.images.shape == (40, 3, 8, 8)
    assert torch.equal(data.images[7, 2], torch.from_numpy(IMAGES[7]) / 255)
    assert list(data.facts) == ["gender"]
    assert data.classes == 4


def test_the_parts_are_disjoint_and_every_class_is_in_both():
    parts = datasets.split(datasets.from_arrays(IMAGES, LABELS), seed=3)
    seen = {image.numpy().tobytes() for image in parts.train.images}
    assert not seen & {image.numpy().tobytes() for image in parts.test.images}
    assert torch.bincount(parts.test.labels).tolist() == [2, 2, 2, 2]
    assert torch.bincount(parts.train.labels).tolist() == [8, 8, 8, 8]


def test_the_sets_own_split_wins():
    data = datasets.from_arrays(IMAGES, LABELS, {"is_test": np.arange(40) % 10 == 3})
    parts = datasets.split(data, seed=3)
    assert len(parts.test) == 4 and bool(parts.test.facts["is_test"].all())


def test_no_group_is_in_both_parts():
    data = datasets.from_arrays(IMAGES, LABELS, {"document": np.arange(40) // 2 % 5})
    parts = datasets.split(data, seed=3, group="document")
    pairs = [
        set(zip(part.labels.tolist(), part.facts["document"].tolist(), strict=True))
        for part in (parts.train, parts.test)
    ]
    assert pairs[0] and pairs[1] and not pairs[0] & pairs[1]


@pytest.mark.parametrize(
    "arrays",
    [
        {"labels": LABELS},
        {"images": IMAGES},
        {"images": IMAGES.astype(float), "labels": LABELS},
        {"images": IMAGES, "labels": LABELS[:3]},
        {"images": IMAGES, "labels": -LABELS},
        {"images": IMAGES, "labels": LABELS.astype(object)},
    ],
)
def test_an_unsound_file_is_refused_by_name(tmp_path, arrays):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(ImageError, match=r"set\.npz"):
        datasets.read(tmp_path / "set.npz")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        datasets.read(tmp_path / "none.npz")
