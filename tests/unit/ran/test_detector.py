"""Faces found by YuNet's file format, against OpenCV's own reader of it."""

import hashlib

import cv2
import numpy as np
import pytest
from PIL import Image

from privedge.errors import ConfigError
from privedge.ran import detector
from tests import drawn_faces


def loaded(path):
    return detector.load(path, hashlib.sha256(path.read_bytes()).hexdigest())


def rows(faces):
    """Faces as OpenCV gives them: box, points, score."""
    return np.array([[*face.box, *face.points.ravel(), face.score] for face in faces])


def theirs(path, pixels, least=0.7):
    height, width = pixels.shape[:2]
    found = cv2.FaceDetectorYN.create(str(path), "", (width, height), least, 0.3, 5000)
    return found.detect(np.ascontiguousarray(pixels[..., ::-1]))[1]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("height", "width"), [(96, 160), (200, 264), (33, 65)])
def test_boxes_points_and_scores_are_those_of_opencv(tmp_path, seed, height, width):
    path = drawn_faces.random_detector(tmp_path / "d.onnx", seed)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected, found = theirs(path, pixels), rows(loaded(path).at_its_size(pixels))
    assert len(expected) > 3
    order = np.lexsort(np.round(found, 2).T[[1, 0, 14]])
    np.testing.assert_allclose(
        found[order], expected[np.lexsort(np.round(expected, 2).T[[1, 0, 14]])], atol=1e-3
    )


@pytest.mark.parametrize("side", [64, 200, 320, 1000])
def test_a_face_is_found_at_its_place_in_a_picture_of_any_size(tmp_path, side):
    found = loaded(drawn_faces.detector(tmp_path / "d.onnx"))
    picture = drawn_faces.discs((side * 0.3, side * 0.6), size=side)
    (face,) = found.faces(picture)
    scale = side / 320
    left, top, width, height = face.box
    middle = np.array([left + width / 2, top + height / 2])
    # The disc may lie on the border of two cells of 8 pixels.
    np.testing.assert_allclose(middle, [side * 0.3, side * 0.6], atol=10 * scale)
    np.testing.assert_allclose([width, height], drawn_faces.BOX * scale, rtol=1e-6)
    around = face.points - face.points.mean(axis=0)
    drawn = drawn_faces.POINTS - drawn_faces.POINTS.mean(axis=0)
    np.testing.assert_allclose(around, drawn * scale, atol=1e-5)


def test_the_largest_of_several_faces_comes_first_and_none_is_no_error(tmp_path):
    path = drawn_faces.random_detector(tmp_path / "d.onnx", 3)
    noise = np.random.default_rng(1).integers(0, 256, (320, 320, 3), dtype=np.uint8)
    sizes = [face.size for face in loaded(path).faces(Image.fromarray(noise))]
    assert len(sizes) > 3 and sizes == sorted(sizes, reverse=True)
    assert loaded(drawn_faces.detector(tmp_path / "e.onnx")).faces(drawn_faces.discs()) == []


def test_a_grey_picture_is_looked_at_too(tmp_path):
    found = loaded(drawn_faces.detector(tmp_path / "d.onnx"))
    assert found.faces(drawn_faces.discs((100, 100)).convert("L")) == []


def test_another_file_than_the_specs_is_refused(tmp_path):
    path = drawn_faces.detector(tmp_path / "d.onnx")
    with pytest.raises(ConfigError, match=r"d\.onnx: is another detector: .* 0{64}"):
        detector.load(path, "0" * 64)
    with pytest.raises(ConfigError, match="cannot be read"):
        detector.load(tmp_path / "none.onnx", "0" * 64)


def test_a_file_that_is_no_detector_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is no YuNet detector"):
        loaded(drawn_faces.encoder(tmp_path / "e.onnx"))
