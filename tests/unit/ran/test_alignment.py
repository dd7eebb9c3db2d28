"""Faces brought to their template, against OpenCV's FaceRecognizerSF, and what is refused."""

import hashlib
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from privedge.errors import ConfigError, FaceTooSmall, ImageError, NoFaceFound, SeveralFaces
from privedge.ran import face, inputs
from privedge.ran.alignment import aligner_for, cutting, similarity
from privedge.ran.feature_kinds import Alignment, Encoder
from privedge.ran.presets import preset
from privedge.ran.public_files import PublicFiles
from privedge.ran.spec import ImageShape, RanSpec, Subspace
from tests import drawn_faces

TEMPLATE = np.array(face.TEMPLATE)
GOLDEN = [[0.697160, 0.325091, -39.253482], [-0.325091, 0.697160, 15.542204]]
# Of every 28th row and column of the cutting.
GOLDEN_PIXELS = [
    [57, 211, 181], [80, 100, 145], [222, 190, 165], [130, 201, 103],
    [170, 228, 80], [206, 136, 148], [61, 115, 113], [65, 111, 179],
    [145, 39, 190], [76, 143, 95], [86, 51, 233], [143, 111, 135],
    [241, 211, 211], [40, 142, 49], [14, 5, 57], [122, 110, 152],
]  # fmt: skip
SHAPE = ImageShape(height=112, width=112, channels=3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return PublicFiles.at(
        encoder=drawn_faces.encoder(folder / "e.onnx"),
        detector=drawn_faces.detector(folder / "d.onnx"),
    )


@pytest.fixture(scope="module")
def opencv(files):
    """OpenCV's way to cut out a face; it wants an encoder, but asks it nothing."""
    return cv2.FaceRecognizerSF.create(str(files.encoder), "")


def spec_for(files, **alignment) -> RanSpec:
    encoder, detector = (
        hashlib.sha256(path.read_bytes()).hexdigest() for path in (files.encoder, files.detector)
    )
    aligned = Alignment(detector=detector, template=face.TEMPLATE, **alignment)
    return RanSpec(
        name="drawn",
        image=SHAPE,
        features=Encoder(sha256=encoder, output=(16,), aligned=aligned),
        layers=(Subspace(components=2),),
    )


def smooth(side: int, seed: int) -> np.ndarray:
    """A picture without sharp edges, uint8 (side, side, 3)."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def moved(turn: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """The template's points in a picture: turned by `turn` degrees, `scale` as large, moved."""
    angle = math.radians(turn)
    matrix = scale * np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    return (TEMPLATE - 56) @ matrix.T + shift


# --- The transform, and the pixels ----------------------------------------------------------------

angles = st.floats(-180, 180)
scales = st.floats(0.2, 8)
shifts = st.tuples(st.floats(-500, 500), st.floats(-500, 500))


@given(angles, scales, shifts)
def test_points_that_were_turned_scaled_and_moved_come_back(turn, scale, shift):
    matrix = similarity(moved(turn, scale, shift), TEMPLATE)
    back = np.column_stack([moved(turn, scale, shift), np.ones(5)]) @ matrix.T
    np.testing.assert_allclose(back, TEMPLATE, atol=1e-6)


@given(st.integers(0, 1 << 30), scales)
@settings(max_examples=30)
def test_no_other_similarity_has_a_smaller_sum_of_squares(seed, scale):
    rng = np.random.default_rng(seed)
    points = moved(20, scale, (100, 90)) + rng.normal(0, 3 * scale, (5, 2))
    matrix = similarity(points, TEMPLATE)

    def squares(matrix):
        return ((np.column_stack([points, np.ones(5)]) @ matrix.T - TEMPLATE) ** 2).sum()

    for turn, stretch, *shift in rng.normal(0, 0.02, (20, 4)):
        step = np.array([[stretch, -turn], [turn, stretch]])
        other = matrix + np.column_stack([step @ matrix[:, :2], shift])
        assert squares(other) >= squares(matrix) - 1e-9


def opencvs(opencv, pixels: np.ndarray, points: np.ndarray) -> np.ndarray:
    row = np.float32([[0, 0, 1, 1, *points.ravel(), 1]])
    cut = opencv.alignCrop(np.ascontiguousarray(pixels[..., ::-1]), row)
    return cut[..., ::-1]


def inside(matrix: np.ndarray, side: int, margin: float) -> np.ndarray:
    """Which pixels of the cutting are at least `margin` pixels inside the picture."""
    y, x = np.mgrid[:112, :112]
    back = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))[:2]
    there = back @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    return ((there >= margin) & (there <= side - 1 - margin)).all(axis=0).reshape(112, 112)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("side", "scale"), [(60, 0.4), (128, 1), (256, 1.9), (255, 2.1)])
def test_a_cutting_is_at_opencvs_place_to_half_a_pixel(opencv, side, scale, seed):
    rng = np.random.default_rng(seed)
    spread = rng.normal(0, 2 * scale, (5, 2))
    points = moved(rng.uniform(-40, 40), scale, (side / 2, side / 2)) + spread
    # The colour of a pixel says where it was.
    slope = 255 / (side - 1)
    down, across = np.mgrid[:side, :side] * slope
    where = np.stack([across, down, across], axis=2).round().astype(np.uint8)
    matrix = similarity(points, TEMPLATE)
    ours = cutting(Image.fromarray(where), matrix, SHAPE)
    apart = (ours.astype(int) - opencvs(opencv, where, points)) / slope / scale
    # Colours are whole numbers, which Pillow rounds down and OpenCV to the nearest one. So places
    # are compared on average over squares of 8 pixels.
    squares = apart.reshape(14, 8, 14, 8, 3).mean(axis=(1, 3))
    seen = inside(matrix, side, 2).reshape(14, 8, 14, 8).all(axis=(1, 3))
    assert seen.mean() > 0.25
    assert np.abs(squares[seen]).max() <= 0.5
    assert np.abs(squares[seen].mean(axis=0)).max() <= 0.05 + 0.5 / slope / scale


@pytest.mark.parametrize("seed", range(4))
def test_a_cutting_has_opencvs_pixels_if_nothing_is_averaged(opencv, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    points = moved(10 * seed, 1.5, (100, 100))
    matrix = similarity(points, TEMPLATE)
    ours = cutting(Image.fromarray(pixels), matrix, SHAPE).astype(int)
    apart = np.abs(ours - opencvs(opencv, pixels, points))[inside(matrix, 200, 2)]
    # OpenCV rounds places to 1/32 pixel, in noise of 255 from one pixel to the next.
    assert apart.mean() < 2 and apart.max() <= 16


def test_a_large_face_is_averaged_and_so_the_same_as_from_a_smaller_picture():
    rng = np.random.default_rng(0)
    small = np.asarray(Image.fromarray(smooth(200, 5)))
    large = Image.fromarray(small.repeat(5, 0).repeat(5, 1))
    noisy = np.asarray(large) * 0.8 + rng.integers(0, 50, (1000, 1000, 1))
    points = moved(12, 1.5, (100, 100))
    few = cutting(Image.fromarray(small), similarity(points, TEMPLATE), SHAPE)
    many = cutting(
        Image.fromarray(noisy.astype(np.uint8)),
        similarity((points + 0.5) * 5 - 0.5, TEMPLATE),
        SHAPE,
    )
    seen = inside(similarity(points, TEMPLATE), 200, 2)
    assert np.abs(many - (few * 0.8 + 24.5))[seen].mean() < 3


def test_a_grey_spec_gets_a_grey_cutting_black_beyond_the_picture():
    white = Image.new("L", (100, 100), 255)
    shape = ImageShape(height=112, width=112, channels=1)
    cut = cutting(white, np.array([[1.0, 0, 50], [0, 1, 50]]), shape)
    assert cut.shape == (112, 112)
    assert cut[:49].max() == 0 and cut[52:, 52:].min() == 255


def test_the_golden_cutting():
    """Other languages, and later versions, must give these pixels."""
    matrix = similarity(moved(25, 1.3, (90, 100)), TEMPLATE)
    cut = cutting(Image.fromarray(smooth(180, 1)), matrix, SHAPE)
    np.testing.assert_allclose(matrix, GOLDEN, atol=1e-5)
    np.testing.assert_allclose(cut[::28, ::28].reshape(-1, 3), GOLDEN_PIXELS, atol=1)


# --- What is refused ------------------------------------------------------------------------------


def chips(spec, files, pictures, **choices):
    aligner = aligner_for(spec, files, largest=choices.pop("largest", False))
    return inputs.opened(pictures, **choices).at(spec.image, aligner)


def test_faces_are_cut_out_of_files_pictures_and_arrays_alike(tmp_path, files):
    spec, picture = spec_for(files), drawn_faces.discs((130, 150))
    picture.save(tmp_path / "a.png")
    array = np.asarray(picture)[None]
    cut = [chips(spec, files, each) for each in (tmp_path / "a.png", picture, array, tmp_path)]
    assert all(each.shape == (1, 112, 112, 3) and (each == cut[0]).all() for each in cut)
    # The disc lies between the eyes and the mouth, and is as red as it was.
    assert cut[0][0, 66:78, 60:72, 0].min() > 240


def test_a_turned_photograph_is_turned_upright_first(tmp_path, files):
    spec, picture = spec_for(files), drawn_faces.discs((130, 220))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn to the right
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.png", exif=exif)
    assert (chips(spec, files, tmp_path / "a.png") == chips(spec, files, picture)).all()


def test_no_face_several_faces_and_a_small_face_are_errors_of_their_own(tmp_path, files):
    spec = spec_for(files, smallest=40)
    cases = {
        "none": (
            drawn_faces.discs(),
            NoFaceFound,
            r"none\.png: no face was found; give an",
        ),
        "two": (
            drawn_faces.discs((100, 100), (220, 200)),
            SeveralFaces,
            r"two\.png: has 2 faces, at \(\d+, \d+\) of 64 x 64, \(\d+, \d+\) of 64 x 64; .*"
            "--largest-face",
        ),
        "small": (
            drawn_faces.discs((100, 100), size=160),
            FaceTooSmall,
            r"small\.png: its face is 32 pixels wide; give a picture with at least 40",
        ),
    }
    for name, (picture, kind, said) in cases.items():
        picture.save(tmp_path / f"{name}.png")
        with pytest.raises(ImageError, match=said):
            chips(spec, files, tmp_path / f"{name}.png")
        with pytest.raises(kind):
            aligner_for(spec, files).cut(picture, spec.image, "x")


def test_the_largest_of_several_faces_is_taken_on_demand(files):
    spec, two = spec_for(files), drawn_faces.discs((100, 100), (220, 200))
    one = drawn_faces.discs((100, 100))
    found = chips(spec, files, two, largest=True)
    assert (found == chips(spec, files, one)).mean() > 0.99


def test_all_pictures_without_a_face_are_named_at_once_or_left_out(tmp_path, files, caplog):
    spec = spec_for(files)
    for name, places in {"a": [(100, 100)], "b": [], "c": [(90, 200)], "d": []}.items():
        drawn_faces.discs(*places).save(tmp_path / f"{name}.png")
    said = r"2 files cannot be used: .*b\.png: no face.*d\.png: no face.*--skip-bad"
    with pytest.raises(ImageError, match=said):
        chips(spec, files, tmp_path, skip_bad=False)
    assert len(chips(spec, files, tmp_path, skip_bad=True)) == 2
    assert "left out" in caplog.text and "b.png" in caplog.text
    array = np.stack([np.asarray(drawn_faces.discs(*each)) for each in ([(100, 100)], [])])
    with pytest.raises(ImageError, match=r"picture 1: no face was found"):
        chips(spec, files, array)
    assert len(chips(spec, files, array, skip_bad=True)) == 1


def test_an_aligned_spec_asks_for_its_detector_and_others_need_none(files):
    with pytest.raises(ConfigError, match="preset drawn: needs its detector's ONNX file"):
        aligner_for(spec_for(files), PublicFiles.at(encoder=files.encoder))
    assert aligner_for(preset("subspace32", height=32, width=32, channels=1)) is None


def test_a_template_that_no_face_can_be_brought_to_is_no_crash(files):
    """A spec comes from the parties, so it is not trusted."""
    spec = spec_for(files)
    for point in (0.0, 1e6):
        flat = spec.features.aligned.model_copy(update={"template": ((point, point),) * 5})
        features = spec.features.model_copy(update={"aligned": flat})
        strange = spec.model_copy(update={"features": features})
        with pytest.raises(NoFaceFound, match="brought to the template"):
            chips_of = aligner_for(strange, files)
            chips_of.cut(drawn_faces.discs((100, 100)), spec.image, "x.png")


def test_what_a_cutting_depends_on_has_a_digest(files):
    one, other = spec_for(files), spec_for(files, smallest=20)
    digests = {
        aligner_for(spec, files, largest=largest).digest
        for spec in (one, other)
        for largest in (False, True)
    }
    assert len(digests) == 4


def test_the_preset_is_for_the_recipes_files_with_opencvs_template():
    spec = preset("face", height=1, width=1, channels=1)
    assert spec.image == SHAPE and spec.components == 4 and spec.input_shape == (128,)
    assert spec.features.aligned == face.alignment(face.DETECTOR_SHA256, SHAPE)
    half = face.alignment("0" * 64, ImageShape(height=56, width=56, channels=3))
    np.testing.assert_allclose(half.template, TEMPLATE / 2)
    assert RanSpec.from_json(spec.to_json()) == spec
