"""Vectors are accepted in every form that says what they are; all else is refused in one line."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

import privedge
from privedge.errors import ConfigError, ImageError, PrivEdgeError
from privedge.ran import features, inputs, vectors
from privedge.ran.in_words import differences
from privedge.ran.narrow import norms
from privedge.ran.presets import preset
from privedge.ran.sets import by_owner
from privedge.ran.spec import ImageShape, RanSpec
from privedge.sharing.fixed_point import LIMIT, encode
from privedge.user.architecture import spec_for

PLAIN = preset("vector", size=6)
UNIT = preset("vector", size=6, unit_length=True)
ROWS = np.random.default_rng(0).normal(size=(8, 6))
PICTURES = ImageShape(height=8, width=12, channels=1)


def taken(source: object, spec: RanSpec = PLAIN) -> np.ndarray:
    """The features of what a client was given."""
    return features.extract(spec, inputs.asked(source, spec.image).at(spec.image))


def npz(folder: Path, **arrays: object) -> Path:
    np.savez(folder / "own.npz", **arrays)
    return folder / "own.npz"


# --- What is accepted -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4", ">f8"])
def test_every_form_of_the_same_vectors_gives_the_same_features(dtype, tmp_path):
    rows = ROWS.astype(dtype)
    expected = rows.astype(np.float32)
    forms = [
        rows,
        np.asfortranarray(rows),
        list(rows),
        npz(tmp_path, vectors=rows),
        str(npz(tmp_path, vectors=rows, labels=np.arange(8))),
    ]
    for form in forms:
        found = taken(form)
        assert found.dtype == np.float32 and np.array_equal(found, expected)


def test_one_vector_is_a_batch_of_one():
    assert np.array_equal(taken(ROWS[0]), ROWS[:1].astype(np.float32))


def test_unit_length_divides_each_vector_by_its_length():
    found = taken(ROWS * np.array([[1e-200], [1e-9], [1], [7], [1e9], [1e100], [1e200], [3]]), UNIT)
    lengths = np.linalg.norm(ROWS, axis=1, keepdims=True)
    assert np.allclose(found, ROWS / lengths, atol=1e-6)


@pytest.mark.parametrize("labels", [["ana", "bo"] * 4, [3, 12] * 4, np.array([3, 12] * 4, "u1")])
def test_an_npz_with_labels_has_an_owner_for_each(labels, tmp_path):
    held = by_owner(npz(tmp_path, vectors=ROWS, labels=labels), skip_bad=False).found
    first, second = np.unique(labels).astype(str)
    assert list(held) == [first, second]
    assert np.array_equal(held[second].at(None), ROWS[1::2])
    chosen = inputs.given(tmp_path / "own.npz", None, label=first)
    assert np.array_equal(chosen, ROWS[::2])


def test_an_npz_of_pictures_has_an_owner_for_each_label(tmp_path):
    drawn = np.random.default_rng(1).integers(0, 256, (4, 8, 12), dtype=np.uint8)
    file = npz(tmp_path, images=drawn, labels=["ana", "bo", "ana", "bo"])
    held = by_owner(file, skip_bad=False).found
    assert np.array_equal(held["bo"].at(PICTURES), drawn[1::2])


# --- What is refused ------------------------------------------------------------------------------

PICTURE = np.random.default_rng(1).integers(0, 256, (8, 12), dtype=np.uint8)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (ROWS[:, :5], "vectors: preset vector takes 6 values each, these have 5"),
        (np.where(ROWS > 2, np.nan, ROWS)[1:] * np.nan, "NaN or infinity in vector 0 and 6 more"),
        (np.full((1, 6), np.inf), "NaN or infinity in vector 0"),
        (ROWS.astype(int), "got int64 (8, 6): vectors = vectors.astype('float32')"),
        (ROWS > 0, "got bool (8, 6): vectors = vectors.astype('float32')"),
        (ROWS.astype(np.float16), "got float16 (8, 6): vectors = vectors.astype('float64')"),
        (ROWS.astype(complex), "the real and the imaginary parts"),
        (ROWS.astype(object), "vectors = np.array(vectors.tolist(), 'float32')"),
        (ROWS.astype(str), "give numbers"),
        (np.zeros((0, 6)), "it holds no values"),
        (np.zeros((6, 0)), "it holds no values"),
        (ROWS.reshape(2, 4, 6), "vectors = vectors.reshape(len(vectors), -1)"),
        (np.float64(3), "vectors are needed here"),
        (PICTURE, "got uint8 (8, 12)"),
        (np.stack([PICTURE] * 3), "got uint8 (3, 8, 12): these are pictures"),
        (Image.fromarray(PICTURE), "vectors are needed here"),
        ([Image.fromarray(PICTURE)], "vectors are needed here"),
        ("picture.png", "picture.png: vectors are needed here"),
        (ROWS * 1000, "is above 90 in vector 0 and 7 more; scale all vectors alike"),
        (ROWS.tolist(), "vectors are needed here"),
    ],
    ids=lambda value: f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else None,
)
def test_what_is_no_vector_of_the_cohort_is_refused_in_one_line(wrong, said):
    with pytest.raises(ImageError) as refusal:
        taken(wrong)
    assert said in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("length", [90.001, 1e5, 1e160, 1e300])
def test_vectors_that_do_not_fit_the_ring_are_refused_with_both_cures(length):
    with pytest.raises(ImageError, match=r"scale all vectors alike .* or use .* unit length"):
        taken(np.eye(6) * length)
    assert np.array_equal(taken(np.eye(6) * length, UNIT), np.eye(6, dtype=np.float32))


def test_a_vector_of_length_zero_has_no_unit_length():
    with pytest.raises(ImageError, match=r"^vectors: all values are 0 in vector 8"):
        taken(np.vstack([ROWS, np.zeros(6)]), UNIT)


@pytest.mark.parametrize("scale", [0, 1e-320, 1e-30, 1e-6, 1e-4, 1 / 65])
def test_w48_a_vector_too_short_for_the_fixed_point_is_refused_with_both_cures(scale):
    rows = np.vstack([ROWS, np.eye(6)[:1] * scale])
    with pytest.raises(ImageError, match=r"below 1/64 in vector 8, .*scale all .* use unit length"):
        taken(rows)
    if scale:
        assert np.allclose(taken(rows, UNIT)[8], np.eye(6)[0])
    assert np.array_equal(taken(np.eye(6) / 63), (np.eye(6) / 63).astype(np.float32))


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 0.05])
def test_w48_an_owner_whose_vectors_are_all_short_is_not_trained(scale):
    with pytest.raises(ImageError, match="scale all vectors"):
        privedge.train(ROWS * scale, owner="ana", quality="ignore")
    spec = privedge.train(ROWS * scale, owner="ana", unit_length=True, quality="ignore").spec
    assert spec == UNIT


def test_w48_what_is_refused_in_training_has_its_own_number():
    rows = np.vstack([ROWS] * 3)
    rows[13] = 0
    with pytest.raises(ImageError, match="in vector 13, too short"):
        privedge.train(rows, owner="ana", quality="ignore")


def test_w48_owners_whose_vectors_hardly_differ_are_refused_together():
    near = [inputs.opened(1 + (ROWS + of) / 1000) for of in range(3)]
    for unit in (False, True):
        with pytest.raises(ImageError, match="take the same public mean from all"):
            spec_for(*near, unit_length=unit)
    with pytest.raises(ImageError, match="so near each other"):
        spec_for(inputs.opened(ROWS[:1]), inputs.opened(ROWS[:1]), preset=PLAIN)
    spread = [inputs.opened(ROWS + of) for of in range(3)]
    assert spec_for(*spread) == PLAIN and spec_for(*spread, unit_length=True) == UNIT


def test_w48_the_least_lengths_are_those_at_which_the_slack_of_the_rule_outweighs_errors():
    for spec, least in (
        (PLAIN, vectors.LEAST_APART),
        (UNIT, vectors.LEAST_APART_IN_UNITS),
    ):
        of_inputs = norms(spec)
        assert of_inputs is not None and least**2 * 2**32 == of_inputs.slack


@given(
    arrays.arrays(
        st.sampled_from([np.float32, np.float64]),
        st.tuples(st.integers(0, 3), st.integers(0, 8)),
        elements={"allow_nan": True, "allow_infinity": True},
    ),
    st.booleans(),
)
@settings(deadline=None)
def test_vectors_are_refused_or_every_error_fits_the_ring(rows, unit):
    spec = UNIT if unit else PLAIN
    try:
        found = taken(rows, spec)
    except PrivEdgeError as refusal:
        assert isinstance(refusal, ImageError) and "\n" not in str(refusal)
        return
    assert found.shape == rows.shape and encode(found).shape == found.shape
    # The farthest mean that another owner can have is of length LONGEST, on the other side.
    lengths = np.linalg.norm(found.astype(np.float64), axis=1)
    farthest = (lengths + (1 if unit else vectors.LONGEST)) ** 2
    assert (farthest < LIMIT).all()


@pytest.mark.parametrize(
    ("arrays", "shape", "said"),
    [
        ({"vectors": ROWS, "images": PICTURE[None]}, None, "holds both images and vectors"),
        ({"vectors": ROWS}, PICTURES, "holds vectors, but pictures are needed here"),
        ({"images": PICTURE[None]}, None, "holds images, but vectors are needed here"),
        ({"rows": ROWS}, None, "has no array called vectors"),
        ({"rows": ROWS}, PICTURES, "has no array called images"),
        ({"vectors": ROWS, "labels": [1, 2]}, None, "has 8 vectors but labels of shape (2,)"),
        ({"vectors": ROWS.astype(np.int8)}, None, "own.npz: vectors must be float32 or float64"),
        ({"vectors": ROWS * np.nan}, None, "own.npz: NaN or infinity in vector 0"),
    ],
)
def test_an_npz_of_something_else_is_refused_by_name(arrays, shape, said, tmp_path):
    with pytest.raises(ImageError) as refusal:
        inputs.asked(npz(tmp_path, **arrays), shape)
    assert said in str(refusal.value) and "own.npz" in str(refusal.value)


@pytest.mark.parametrize("shape", [(50, 1, 13), (50, 1, 13, 1)])
def test_vectors_under_the_name_of_images_are_not_trained_into_a_model_of_writing(shape, tmp_path):
    file = npz(tmp_path, images=np.ones(shape, np.uint8) * 7)
    with pytest.raises(ImageError, match=r"5 pixels a side or more; vectors are floats"):
        privedge.train(file, owner="ana")


@pytest.mark.parametrize("wrong", [ROWS, ROWS[0], ROWS.astype(np.float32)])
def test_vectors_for_a_cohort_of_pictures_are_refused(wrong):
    with pytest.raises(ImageError, match=r"vectors need a preset and a cohort of vectors$"):
        inputs.given(wrong, PICTURES)


# --- Presets and training -------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "components"), [(2, 1), (4, 1), (13, 3), (30, 3), (512, 4)])
def test_the_preset_has_few_components(size, components):
    spec = preset("vector", size=size)
    assert (spec.components, spec.input_shape, spec.image) == (components, (size,), None)
    assert preset("vector", size=size, components=1).components == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "vector"},
        {"name": "vector", "size": 1},
        {"name": "vector", "size": 1 << 17},
        {"name": "vector", "size": 6, "components": 6},
        {"name": "subspace32", "size": 6},
        {"name": "subspace32", "unit_length": True},
        {"name": "auto", "size": 6},
    ],
    ids=str,
)
def test_a_preset_that_does_not_fit_is_refused(wrong):
    with pytest.raises(ConfigError):
        preset(**wrong)


@pytest.mark.parametrize("name", ["auto", "vector"])
def test_training_learns_from_the_vectors_as_they_are(name):
    ran = privedge.train(ROWS, owner="ana", preset=name, components=2)
    assert ran.spec == preset("vector", size=6, components=2) and ran.facts["images"] == "8"
    learned = np.sort(np.abs(ROWS.mean(0) - ran.parameters["0.mean"]))
    assert learned.max() < 0.5  # one of eight vectors is held out


def test_training_is_the_same_for_float32_and_float64():
    rows = ROWS.astype(np.float32)
    first, second = (privedge.train(each, owner="ana") for each in (rows, rows.astype(np.float64)))
    for name, value in first.parameters.items():
        assert np.array_equal(value, second.parameters[name])


@pytest.mark.parametrize(
    ("source", "choices", "error"),
    [
        (ROWS, {"preset": "subspace32"}, ImageError),
        (np.stack([PICTURE] * 3), {"preset": "vector"}, ImageError),
        (ROWS, {"channels": 1}, ConfigError),
        (np.stack([PICTURE] * 3), {"unit_length": True}, ConfigError),
        (ROWS, {"preset": PLAIN, "unit_length": True}, ConfigError),
        (ROWS * 100, {}, ImageError),
    ],
    ids=["pictures", "vectors", "channels", "unit length", "spec", "long"],
)
def test_training_refuses_what_does_not_fit(source, choices, error):
    with pytest.raises(error) as refusal:
        privedge.train(source, owner="ana", **choices)
    assert "\n" not in str(refusal.value)


def test_a_refused_model_is_told_what_differs():
    other = preset("vector", size=8, components=1)
    pictures = preset("subspace32", height=32, width=32, channels=1)
    assert differences(other, PLAIN) == "vectors of 8 values there, 6 here"
    assert differences(UNIT, PLAIN) == "unit length: yes there, no here"
    assert differences(pictures, PLAIN).startswith(
        "preset subspace32 there, vector here; pictures there, vectors here"
    )


# --- The other arrays of a file -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.array([np.nan] + [1.0] * 7), "must be whole numbers or text, got float64"),
        (np.array([np.inf] + [1.0] * 7), "must be whole numbers or text, got float64"),
        (np.arange(8) + 0.5, "must be whole numbers or text, got float64"),
        (np.array([True, False] * 4), "must be whole numbers or text, got bool"),
        (np.array(["ana", " "] * 4), "that of number 1 is empty"),
        (np.array([0, 1, -1, 1] * 2), "that of number 2 is negative"),
        (np.array([b"ana", b"\xff"] * 4), "are bytes, but no text in UTF-8"),
        (np.array([["ana"]] * 8), "has 8 vectors but labels of shape (8, 1)"),
    ],
)
def test_w48_labels_that_name_no_owner_are_refused_before_anything_is_unpacked(
    labels, said, tmp_path, monkeypatch
):
    file = npz(tmp_path, vectors=ROWS, labels=labels)
    monkeypatch.setattr(vectors, "checked", None)  # whoever unpacks calls it
    for use in (
        lambda: by_owner(file, skip_bad=False),
        lambda: inputs.opened(file, label="ana"),
    ):
        with pytest.raises(ImageError) as refusal:
            use()
        assert said in str(refusal.value)


def test_w48_a_label_that_is_not_there_is_found_out_before_anything_is_unpacked(
    tmp_path, monkeypatch
):
    file = npz(tmp_path, vectors=ROWS, labels=np.arange(8))
    monkeypatch.setattr(vectors, "checked", None)
    for label in ("9", "ana", "1e0", None):
        with pytest.raises(ImageError, match=r"it has 0, 1|in Python, label="):
            inputs.opened(file, label=label)


def test_w48_labels_of_bytes_and_whole_floats_mean_what_they_say(tmp_path):
    names = np.array(["José", "bo"] * 4)
    for labels in (names, np.char.encode(names, "utf-8")):
        assert [*by_owner(npz(tmp_path, vectors=ROWS, labels=labels), skip_bad=False).found] == [
            "José",
            "bo",
        ]
    floats = by_owner(npz(tmp_path, vectors=ROWS, labels=np.arange(8.0) % 2), skip_bad=False)
    assert [*floats.found] == ["0", "1"]
    # Whoever asks is not asked for labels.
    assert len(inputs.asked(npz(tmp_path, vectors=ROWS, labels=[np.nan] * 8), None).array) == 8


def test_w48_what_a_file_says_of_unit_length_counts(tmp_path):
    for said, spec, other in ((True, UNIT, PLAIN), (False, PLAIN, UNIT)):
        file = npz(tmp_path, vectors=ROWS, unit_length=said)
        assert spec_for(inputs.opened(file)) == spec
        inputs.asked(file, None).require_fitting(spec)
        assert spec_for(inputs.opened(file), preset=spec) == spec
        for use in (
            lambda file=file, said=said: spec_for(inputs.opened(file), unit_length=not said),
            lambda file=file, other=other: spec_for(inputs.opened(file), preset=other),
            lambda file=file, other=other: inputs.asked(file, None).require_fitting(other),
        ):
            with pytest.raises(ImageError, match=f"file says unit_length = {said}, and "):
                use()
    for wrong in ([True], "yes", 1, np.nan):
        with pytest.raises(ImageError, match="unit_length must be one True or False"):
            inputs.opened(npz(tmp_path, vectors=ROWS, unit_length=wrong))


def test_w48_arrays_of_other_kinds_are_read_as_they_are_meant():
    assert np.array_equal(taken(ROWS.view(np.matrix)), ROWS.astype(np.float32))
    masked = np.ma.masked_array(ROWS, ROWS > 1)
    for given_as in (masked, [masked[0], masked[1]]):
        with pytest.raises(ImageError, match="masked array are missing; fill them"):
            taken(given_as)
