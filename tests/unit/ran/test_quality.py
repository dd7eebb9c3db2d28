"""What is wrong with drawn pictures and with vectors, and what is done about it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw, ImageFilter

from privedge.errors import ImageError, QualityError
from privedge.ran import quality
from privedge.ran.quality import Flaw


def scene(number: int, *, size: int = 64) -> Image.Image:
    """A picture with edges: a face of sorts, moved and lit a little differently each time."""
    rng = np.random.default_rng(number)
    picture = Image.new("L", (size, size), int(rng.integers(150, 200)))
    draw = ImageDraw.Draw(picture)
    left, top = rng.integers(2, size // 4, 2).tolist()
    draw.ellipse((left, top, left + size // 2, top + size // 2), fill=90, outline=20)
    for eye in (size // 6, size // 3):
        draw.rectangle((left + eye, top + 12, left + eye + 4, top + 16), fill=10)
    noise = rng.integers(-12, 13, (size, size))
    return Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))


def kinds(pictures: list[Image.Image]) -> list[str]:
    names = [f"{number}.png" for number in range(len(pictures))]
    return [flaw.kind for flaw in quality.of_own([quality.grey(each) for each in pictures], names)]


GOOD = [scene(number) for number in range(12)]


def test_good_pictures_have_no_flaw():
    assert kinds(GOOD) == []


def test_few_pictures_are_said_to_be_few():
    (flaw,) = quality.of_own([quality.grey(each) for each in GOOD[:4]], list("abcd"))
    assert flaw == Flaw("few", "only 4 pictures; 10 or more answer better")


def test_pictures_that_were_saved_again_are_near_duplicates(tmp_path):
    again = []
    for number, picture in enumerate(GOOD[:4]):
        picture.resize((61, 61)).save(tmp_path / f"{number}.jpg", quality=60)
        again.append(Image.open(tmp_path / f"{number}.jpg"))
    names = [f"{number}.png" for number in range(12)] + [f"{number}.jpg" for number in range(4)]
    (flaw,) = quality.of_own([quality.grey(each) for each in GOOD + again], names)
    assert flaw.text.startswith("4 of 16 pictures are nearly the same as others (0.png and 0.jpg, ")
    assert set(flaw.files) == {f"{number}.{end}" for number in range(4) for end in ("png", "jpg")}


def test_one_copy_in_a_large_set_is_no_fault():
    assert kinds([*GOOD, GOOD[0]]) == []


@pytest.mark.parametrize(
    ("kind", "spoilt"),
    [
        ("dark", lambda image: image.point(lambda value: value // 6)),
        ("bright", lambda image: image.point(lambda value: 250 + value // 60)),
        ("flat", lambda image: image.point(lambda value: 120 + value // 64)),
        ("blurred", lambda image: image.filter(ImageFilter.GaussianBlur(4))),
    ],
)
def test_a_spoilt_picture_is_named_with_what_to_do(kind, spoilt):
    pictures = [quality.grey(GOOD[0]), quality.grey(spoilt(GOOD[1]))]
    (flaw,) = quality.of_asked(pictures, ["good.png", "poor.png"])
    assert (flaw.kind, flaw.files) == (kind, ("poor.png",))
    assert flaw.text.startswith("poor.png is ") and "; " in flaw.text


def test_many_spoilt_pictures_are_one_line():
    poor = [quality.grey(each.point(lambda value: value // 6)) for each in GOOD]
    (flaw,) = quality.of_asked(poor, [f"{number}.png" for number in range(12)])
    assert "and 6 more are too dark; take them again in more light" in flaw.text
    assert len(flaw.files) == 12


def test_a_picture_of_something_else_is_found():
    stripes = Image.fromarray(np.tile(np.array([0, 255] * 8).repeat(4), (64, 1)).astype(np.uint8))
    pictures = [*GOOD, stripes.rotate(90)]
    found = quality.of_own([quality.grey(each) for each in pictures], list("abcdefghijklm"))
    assert [(flaw.kind, flaw.files) for flaw in found] == [("mixed", ("m",))]


def test_an_encoder_finds_another_person_where_pixels_would_not():
    rng = np.random.default_rng(3)
    one, other = np.eye(128)[:2]
    encoded = np.stack([one] * 9 + [other]) + 0.05 * rng.standard_normal((10, 128))
    (flaw,) = quality.of_encoded(encoded.astype(np.float32), list("abcdefghij"))
    assert flaw.files == ("j",)
    assert quality.of_encoded(encoded[:9].astype(np.float32), list("abcdefghi")) == []


def test_vectors_have_flaws_of_their_own():
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((12, 5)).astype(np.float32)
    assert quality.of_vectors(vectors) == []
    vectors[:, [1, 3]] = 7
    vectors[11] = vectors[0]
    found = {flaw.kind: flaw.text for flaw in quality.of_vectors(vectors)}
    assert found == {
        "repeated": "1 of 12 vectors are copies; leave them out",
        "constant": "2 columns never change (1, 3); they tell nobody apart, drop them",
    }
    assert [flaw.kind for flaw in quality.of_vectors(vectors[:1])] == ["few"]


def test_flaws_are_warned_of_refused_or_ignored(caplog):
    flaws = [Flaw("dark", "a.png is too dark"), Flaw("few", "only 1 picture")]
    quality.heed(flaws, "ana", "ignore")
    assert caplog.messages == []
    quality.heed(flaws, "ana", "warn")
    assert caplog.messages == ["ana: a.png is too dark", "ana: only 1 picture"]
    with pytest.raises(QualityError, match=r"ana: a\.png is too dark; ana: only 1 picture"):
        quality.heed(flaws, "ana", "refuse")
    quality.heed([], "ana", "refuse")
    assert issubclass(QualityError, ImageError)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 9).flatmap(
        lambda count: arrays(
            np.uint8, st.tuples(st.just(count), st.integers(1, 70), st.integers(1, 9))
        )
    )
)
def test_any_pictures_can_be_judged(images):
    names = [str(number) for number in range(len(images))]
    found = quality.of_own(quality.greys(images), names)
    assert all(set(flaw.files) <= set(names) and "\n" not in flaw.text for flaw in found)
    assert len({flaw.kind for flaw in found}) == len(found)


@settings(deadline=None, max_examples=60)
@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 12), st.integers(1, 6)),
        elements=st.floats(-1e6, 1e6, width=32),
    )
)
def test_any_vectors_can_be_judged(vectors):
    found = quality.of_vectors(vectors)
    assert all("\n" not in flaw.text for flaw in found)
    names = [str(number) for number in range(len(vectors))]
    assert len(quality.of_encoded(vectors, names)) <= 1


def test_w48_vectors_that_hardly_differ_or_of_which_one_column_decides_are_told():
    rows = np.random.default_rng(5).normal(size=(20, 6))
    assert quality.of_vectors(rows) == quality.of_vectors(rows * 1e200) == []
    assert [flaw.kind for flaw in quality.of_vectors(1 + rows * 1e-6)] == ["close"]
    (wide,) = quality.of_vectors(rows * [1, 1, 1e6, 1, 1, 1])
    assert wide.kind == "one-column" and "column 2 makes nearly all differences" in wide.text
