"""`privedge up` finds owners in an npz of vectors: one label is one owner."""

import numpy as np
import pytest

from privedge.errors import ImageError
from privedge.local import labelled, models
from privedge.ran.presets import preset

ROWS = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)


def test_each_label_is_an_owner_whose_name_can_be_in_a_certificate(tmp_path):
    np.savez(tmp_path / "own.npz", vectors=ROWS, labels=["José Ruiz", "bo", "bo"] * 4)
    found = labelled.look(tmp_path / "own.npz")
    assert [(owner.name, owner.count) for owner in found.owners] == [("jose-ruiz", 4), ("bo", 8)]
    assert "'José Ruiz' is jose-ruiz" in found.notes[0]
    plan, _ = models.plan(found, "auto", unit_length=True)
    assert plan.spec == preset("vector", size=5, unit_length=True)
    held_out = plan.held_out(found.owners[1])
    assert held_out.shape == (1, 5) and held_out[0] in ROWS.astype(np.float64)


def test_one_vector_of_an_owner_is_enough_and_none_is_held_out(tmp_path):
    np.savez(tmp_path / "own.npz", vectors=ROWS, labels=[1, 2, 2] + [3] * 9)
    found = labelled.look(tmp_path / "own.npz")
    plan, _ = models.plan(found, "auto")
    assert [len(plan.held_out(owner)) for owner in found.owners] == [0, 0, 1]


def test_a_file_of_pictures_or_without_labels_is_refused(tmp_path):
    np.savez(tmp_path / "own.npz", vectors=ROWS)
    with pytest.raises(ImageError, match="has no labels"):
        labelled.look(tmp_path / "own.npz")
    np.savez(tmp_path / "own.npz", images=np.full((3, 8, 8), 9, np.uint8), labels=[1, 1, 1])
    with pytest.raises(ImageError, match="holds images, but vectors are needed here"):
        labelled.look(tmp_path / "own.npz")
