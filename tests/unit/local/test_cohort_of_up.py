"""privedge/local/up.py: which rule for "unknown" a cohort gets."""

import numpy as np
import pytest

from privedge.errors import PrivEdgeError
from privedge.local.up import Request, _cohort, _with_usual_rivals
from privedge.ran import probes, rivals
from privedge.ran.model_bounds import Band, most_energy
from privedge.ran.presets import preset
from privedge.ran.probes import Probes, Rule
from privedge.ran.public_files import PublicFiles
from privedge.ran.rivals import Rivals
from privedge.ran.spec import ImageShape, RanSpec, Subspace

FACE = preset("face", height=112, width=112, channels=3)
PIXELS = preset("subspace32", height=32, width=32, channels=1)


@pytest.mark.parametrize(
    ("spec", "given", "expected"),
    [(FACE, None, 0.7), (PIXELS, None, 1.0), (FACE, 1.0, 1.0), (PIXELS, 0.9, 0.9)],
)
def test_the_margin_is_that_of_the_preset_unless_one_is_given(spec, given, expected):
    cohort, public = _cohort(spec, Request("people", spec, margin=given))
    assert (cohort.margin, cohort.rivals, public) == (expected, None, [])


def test_rivals_are_checked_and_other_rivals_make_another_cohort(tmp_path):
    file, digests = tmp_path / "rivals.npz", []
    for value in (0.1, 0.2):
        rows = np.full((2, 128), value, np.float32)
        rivals.write(file, Rivals.of(rows, FACE.input_shape), FACE)
        cohort, public = _cohort(FACE, Request("people", FACE, rivals=file))
        assert cohort.rivals == str(file)
        digests += public
        file.unlink()
    assert len(set(digests)) == 2
    rivals.write(file, Rivals.of(rows, FACE.input_shape), FACE)
    with pytest.raises(PrivEdgeError):
        _cohort(PIXELS, Request("people", PIXELS, rivals=file))


def test_the_rivals_beside_the_encoder_of_the_preset_face_are_taken(tmp_path):
    files, said = PublicFiles(encoder=tmp_path / "encoder.onnx"), []
    asked = Request("people", "face", files=files)
    assert _with_usual_rivals(asked, said.append) == asked
    assert "rivals.npz is not there" in said[0] and "make face-recipe" in said[0]

    usual, own = tmp_path / "rivals.npz", tmp_path / "own.npz"
    rivals.write(usual, Rivals.of(np.full((2, 128), 0.1, np.float32), FACE.input_shape), FACE)
    assert _with_usual_rivals(asked, said.append).rivals == usual
    assert said[1:] == [f"public rivals: {usual}"]
    for other in (
        Request("people", "face", files=files, rivals=own),
        Request("people", "subspace-encoder", files=files),
    ):
        assert _with_usual_rivals(other, said.append) == other
    assert len(said) == 2


@pytest.mark.parametrize(
    ("name", "size", "channels", "checked"),
    [
        ("subspace32", 32, 1, True),
        ("subspace64-fine", 64, 1, True),
        ("face", 112, 3, True),
        ("conv32", 32, 1, False),
    ],
)
def test_new_models_are_checked_by_default_where_that_is_quick_and_refuses_nobody(
    name, size, channels, checked
):
    spec = preset(name, height=size, width=size, channels=channels)
    cohort, _ = _cohort(spec, Request("people", spec))
    assert cohort.model_check == ({} if checked else None)


def test_pictures_on_white_whose_mean_would_be_refused_are_not_checked_by_default():
    for side, checked in ((52, True), (53, False)):
        image = ImageShape(height=side, width=side, channels=3)
        layers = (Subspace(components=1),)
        spec = RanSpec(name="pixels", image=image, features={"kind": "pixels"}, layers=layers)
        longest = np.ones(spec.input_shape).sum()
        assert (longest < most_energy(spec)) == checked
        cohort, _ = _cohort(spec, Request("people", spec))
        assert cohort.model_check == ({} if checked else None)


def rule(most: float) -> Rule:
    return Rule(np.ones(2), np.full(2, 0.5), Band(0.1, most), 0.05, 2)


def test_probes_are_checked_and_other_probes_make_another_cohort(tmp_path):
    file, digests = tmp_path / "probes.npz", []
    rows = np.full((2, *FACE.input_shape), 0.1, np.float32)
    for most in (1.0, 2.0):
        probes.write(file, Probes.of(rows, rule(most), FACE), FACE)
        cohort, public = _cohort(FACE, Request("people", FACE, probes=file))
        assert cohort.model_check == {"probes": str(file)}
        digests += public
        file.unlink()
    assert len(set(digests)) == 2
    probes.write(file, Probes.of(rows, rule(1.0), FACE), FACE)
    with pytest.raises(PrivEdgeError, match="another architecture"):
        _cohort(PIXELS, Request("people", PIXELS, probes=file))
