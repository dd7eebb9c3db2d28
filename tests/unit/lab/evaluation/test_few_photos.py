"""`--photos N`: so many images of each class are learnt, and all others asked."""

import numpy as np
import pytest

from privedge.errors import ConfigError
from privedge_lab import datasets
from privedge_lab.evaluation.identify_parts import Choice, Part, deal

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
LABELS = np.repeat(np.arange(4), 15)


def data(**facts):
    return datasets.from_arrays(IMAGES, LABELS, facts)


def keys(images) -> set[bytes]:
    return {image.tobytes() for image in images}


@pytest.mark.parametrize("photos", [1, 3, 14])
def test_each_class_learns_from_so_many_and_is_asked_all_others(photos):
    parts = deal(data(), Choice(0, photos=photos))
    assert [len(images) for images in parts.train] == [photos] * 4
    assert np.bincount(parts.labels).tolist() == [15 - photos] * 4
    for owner, images in enumerate(parts.train):
        asked = parts.images[parts.labels == owner]
        assert keys(images) | keys(asked) == keys(IMAGES[owner == LABELS])
        assert not keys(images) & keys(asked)


def test_another_seed_draws_others_and_the_same_seed_the_same():
    first, again, other = (deal(data(), Choice(seed, photos=2)) for seed in (0, 0, 1))
    assert keys(first.images) == keys(again.images) != keys(other.images)


def test_validation_never_sees_the_usual_test_part():
    choice = Choice(3, part=Part.VALIDATION, photos=2)
    held_out = keys(deal(data(), Choice(3)).images)
    parts = deal(data(), choice)
    assert [len(images) for images in parts.train] == [2] * 4
    seen = keys(parts.images).union(*map(keys, parts.train))
    assert not seen & held_out and np.bincount(parts.labels).tolist() == [10] * 4


def test_a_set_with_too_few_images_and_other_splits_are_refused():
    with pytest.raises(ConfigError, match="photos: class 0 has 15 images; give 1 to 14"):
        deal(data(), Choice(0, photos=15))
    for other in ({"group": "page"}, {"where": ("page", 1)}):
        with pytest.raises(ConfigError, match="photos: draws images itself"):
            Choice(0, photos=2, **other)
