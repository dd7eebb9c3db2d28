"""Membership rows: disjoint sets, the three attacks, and not measured twice."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from privedge.errors import ImageError
from privedge_lab import datasets
from privedge_lab.evaluation.membership import MembershipSettings, measure
from privedge_lab.results.store import Results


def digits() -> datasets.Labelled:
    given = load_digits()
    images = np.rint(given.images * (255 / 16)).astype(np.uint8)
    return datasets.from_arrays(images, given.target)


def test_rows_name_attack_settings_and_intervals():
    settings = MembershipSettings("subspace32", owners=2, members=20, asked=8)
    results = Results("membership", {})
    rows = list(measure(settings, digits(), results, lambda *_: None))
    assert [row.attack for row in rows] == ["gap", "count", "learned"]
    for row in rows:
        assert row.images == 2 * 2 * 8
        assert (row.preset, row.members, row.seed) == ("subspace32", 20, 0)
        assert 0 <= row.auc <= 1
        assert row.right_members > 0.9
    list(measure(settings, digits(), results, lambda *_: pytest.fail("measured again")))


def test_too_few_images_are_refused():
    with pytest.raises(ImageError, match="are needed"):
        settings = MembershipSettings("subspace32", owners=2, members=100)
        list(measure(settings, digits(), Results("membership", {}), lambda *_: None))
    with pytest.raises(ImageError, match="asked about"):
        settings = MembershipSettings("subspace32", members=10, asked=11)
        list(measure(settings, digits(), Results("membership", {}), lambda *_: None))
