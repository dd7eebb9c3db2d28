"""tools/try_features.py measures what `evaluate identify` measures, for any feature map."""

import re

import numpy as np
import pytest

from privedge_lab import datasets
from privedge_lab.evaluation import identify_figures
from privedge_lab.evaluation.mean_share import MEAN_SHARE
from tools import try_features


@pytest.fixture
def faces(tmp_path):
    """Six owners of 15 images: a pattern of the owner's own, with noise, on two pages."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 200, size=(6, 1, 16, 16))
    images = patterns + rng.integers(0, 56, size=(6, 15, 16, 16))
    np.savez(
        tmp_path / "faces.npz",
        images=images.reshape(-1, 16, 16).astype(np.uint8),
        labels=np.repeat(np.arange(6), 15),
        document=np.tile(np.arange(15) % 3, 6),
    )
    return tmp_path / "faces.npz"


def test_a_line_for_each_number_of_components(faces, capsys):
    arguments = ["--data", str(faces), "--size", "16x16", "--components", "1,2", "--seed", "0,1"]
    try_features.main([*arguments, "--features", '{"kind": "pixels"}'])
    lines = capsys.readouterr().out.splitlines()
    form = r"(\d) components of 256 values: recall [01]\.\d{3} [01]\.\d{3}; AUROC by .*: [\d.]+"
    assert [found[1] for line in lines if (found := re.fullmatch(form, line))] == ["1", "2"]


def test_words_of_one_page_are_voted_over(faces, capsys):
    arguments = ["--data", str(faces), "--size", "16", "--components", "1", "--seed", "0"]
    pages = ["--group", "document", "--words", "2"]
    try_features.main([*arguments, *pages, "--features", '{"kind": "pixels"}'])
    assert re.search(r"; recall 1\.000 over 2 images; AUROC", capsys.readouterr().out)


def test_its_figures_are_those_of_the_evaluation(faces):
    spec = try_features.spec_for('{"kind": "pixels"}', (16, 16), 1, 2)
    cohort = try_features.measured(datasets.read(faces), spec, 3, None)
    labels, owners = cohort.parts.labels, cohort.parts.owners
    expected = identify_figures.figures(labels, cohort.errors.argmin(axis=1), owners)
    assert try_features.recall(cohort, 1) == expected.macro_recall
    known = identify_figures.known(cohort.errors, labels, np.zeros(len(owners)), 3)
    for share, name in ((0.0, "auroc_margin"), (MEAN_SHARE, "auroc_known"), (1.0, "auroc_mean")):
        assert try_features.auroc(cohort, share, 3) == pytest.approx(getattr(known, name))
