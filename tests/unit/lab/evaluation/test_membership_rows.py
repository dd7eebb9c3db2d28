"""Membership rows: disjoint sets, the three attacks, and not measured twice."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from privedge.errors import ConfigError, ImageError
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge_lab import datasets, encoded
from privedge_lab.evaluation.membership import MembershipSettings, measure
from privedge_lab.results.store import Results
from tests import onnx_files


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


def test_a_cohort_behind_an_encoder_is_attacked_too(tmp_path):
    encoder = onnx_files.convolutional(tmp_path / "encoder.onnx")
    settings = MembershipSettings(
        "subspace-encoder", owners=2, members=20, asked=8, files=PublicFiles.at(encoder=encoder)
    )
    rows = list(measure(settings, digits(), Results("membership", {}), lambda *_: None))
    assert [row.attack for row in rows] == ["gap", "count", "learned"]
    assert {row.preset for row in rows} == {"subspace-encoder"}
    with pytest.raises(ConfigError, match="needs the ONNX file"):
        spec = encoded.spec_for(settings.preset, None, (1, 1, 8, 8), settings.files)
        without = replace(settings, spec=spec, files=NO_FILES)
        list(measure(without, digits(), Results("membership", {}), lambda *_: None))


def test_too_few_images_are_refused():
    with pytest.raises(ImageError, match="are needed"):
        settings = MembershipSettings("subspace32", owners=2, members=100)
        list(measure(settings, digits(), Results("membership", {}), lambda *_: None))
    with pytest.raises(ImageError, match="asked about"):
        settings = MembershipSettings("subspace32", members=10, asked=11)
        list(measure(settings, digits(), Results("membership", {}), lambda *_: None))
