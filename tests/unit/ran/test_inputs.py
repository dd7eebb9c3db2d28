"""Every accepted form of pictures gives the same pixels; any other gets an error with the cure."""

import io
import logging
import os
import re
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from privedge.errors import ImageError
from privedge.ran import images
from privedge.ran.images import Measured
from privedge.ran.inputs import given, measured, opened
from privedge.ran.spec import ImageShape

GREY = ImageShape(height=8, width=12, channels=1)
COLOUR = ImageShape(height=8, width=12, channels=3)
NOISE = np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3), dtype=np.uint8)
GREYS = NOISE[..., 0].copy()


def picture(path: Path, pixels: np.ndarray = GREYS[0], **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


# --- What is taken --------------------------------------------------------------------------------

FORMS: dict[str, Callable[[Path], object]] = {
    "a folder": lambda folder: folder,
    "a folder as text": str,
    "a list of paths": lambda folder: sorted(folder.iterdir()),
    "a tuple of text": lambda folder: tuple(map(str, sorted(folder.iterdir()))),
    "another sequence": lambda folder: deque(sorted(folder.iterdir())),
    "pictures": lambda _: [Image.fromarray(each) for each in NOISE],
    "paths and pictures": lambda folder: [
        folder / "0.png",
        Image.fromarray(NOISE[1]),
        str(folder / "2.png"),
    ],
    "an array": lambda _: NOISE,
    "an array in other strides": lambda _: np.asfortranarray(NOISE),
    "a list of arrays": lambda _: list(NOISE),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_every_form_of_the_same_pictures_gives_the_same_pixels(tmp_path, form):
    for number, pixels in enumerate(NOISE):
        picture(tmp_path / f"{number}.png", pixels)
    source = form(tmp_path)
    found = given(source, COLOUR)
    assert found.dtype == np.uint8 and np.array_equal(found, NOISE)
    assert measured(opened(source)) == Measured(8, 12, 3, 3)


@pytest.mark.parametrize("batch", [GREYS, GREYS[..., None], list(GREYS)])
def test_grey_arrays_may_have_an_axis_for_their_one_channel(batch):
    assert np.array_equal(given(batch, GREY), GREYS)
    assert np.array_equal(given(batch, COLOUR), GREYS[..., None].repeat(3, 3))


@pytest.mark.parametrize("single", [GREYS[0], GREYS[0][..., None], Image.fromarray(GREYS[0])])
def test_w47_one_grey_picture_is_a_batch_of_one_and_never_rows(single):
    assert np.array_equal(given(single, GREY), GREYS[:1])


@pytest.mark.parametrize("form", [np.asarray, Image.fromarray, lambda pixels: [pixels]])
def test_w47_one_colour_picture_is_a_batch_of_one_and_never_rows(form):
    assert np.array_equal(given(form(NOISE[0]), COLOUR), NOISE[:1])


def test_three_axes_are_one_colour_picture_if_the_last_is_3_and_else_grey_pictures():
    tall = np.zeros((20, 9, 3), np.uint8)
    assert given(tall, COLOUR).shape == (1, 8, 12, 3)
    assert given(tall.transpose(2, 0, 1), GREY).shape == (3, 8, 12)


def test_a_picture_that_is_open_in_pillow_is_turned_upright_as_its_file_is(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    path = picture(tmp_path / "a.png", GREYS[0], exif=exif)
    assert np.array_equal(given(Image.open(path), GREY), given(path, GREY))
    assert not np.array_equal(given(path, GREY), GREYS[:1])


@pytest.mark.parametrize("ending", [".jfif", ".jpe", ".JPEG"])
def test_every_usual_ending_of_a_jpeg_is_taken(tmp_path, ending):
    picture(tmp_path / f"a{ending}", format="JPEG")
    assert given(tmp_path, GREY).shape == (1, 8, 12)


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_is_taken(tmp_path, lossless):
    picture(tmp_path / "a.webp", format="WEBP", lossless=lossless, quality=90)
    found = given(tmp_path, GREY)
    assert found.shape == (1, 8, 12)
    assert measured(opened(tmp_path)).channels == 1
    assert np.array_equal(found, GREYS[:1]) or not lossless


@pytest.mark.parametrize("ending", [".heic", ".HEIF", ".jpg"])
def test_heic_is_taken_with_its_extra(tmp_path, ending):
    import pillow_heif

    pillow_heif.register_heif_opener()
    picture(tmp_path / f"a{ending}", np.full((64, 64, 3), 200, np.uint8), format="HEIF")
    assert np.allclose(given(tmp_path, GREY), 200, atol=3)


def test_heic_without_its_extra_is_named_with_the_command_and_can_be_left_out(
    tmp_path, monkeypatch
):
    picture(tmp_path / "0.png")
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # what an import then finds is an error
    images._reads_heic.cache_clear()
    try:
        with pytest.raises(ImageError, match=r"a\.heic: .* pip install 'privedge\[heic\]'; "):
            measured(opened(tmp_path, skip_bad=False))
        assert measured(opened(tmp_path, skip_bad=True)).count == 1
    finally:
        images._reads_heic.cache_clear()


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGB", "RGBA"])
def test_w49_grey_is_grey_however_it_is_stored(tmp_path, mode):
    grey = Image.fromarray(GREYS[0] // 128 * 255)
    grey.convert(mode).save(tmp_path / "a.png")
    assert measured(opened(tmp_path)).channels == 1
    assert np.array_equal(given(tmp_path, GREY)[0], np.asarray(grey))


def test_w49_an_array_of_colour_that_is_all_grey_is_measured_as_grey():
    assert measured(opened(GREYS[..., None].repeat(3, 3))).channels == 1
    assert measured(opened(NOISE)).channels == 3


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK"])
def test_colour_is_colour_however_it_is_stored(mode):
    colour = Image.fromarray(NOISE[0]).convert(mode)
    assert measured(opened(colour)).channels == 3


# --- Arrays that are refused ----------------------------------------------------------------------

UNIT = (GREYS / 255).astype(np.float32)


@pytest.mark.parametrize(
    ("wrong", "cure"),
    [
        (UNIT, "images = (images * 255).round().astype('uint8')"),
        (
            UNIT.astype(np.float64) * 2 - 1,
            "images = ((images + 1) * 127.5).round().astype('uint8')",
        ),
        (GREYS.astype(np.float16), "images = images.clip(0, 255).round().astype('uint8')"),
        (GREYS.astype(np.uint16) * 257, "images = (images >> 8).astype('uint8')"),
        (GREYS.astype(np.int64), "images = images.astype('uint8')"),
        (GREYS.astype(np.uint16) * 4, "images = (images >> 2).astype('uint8')"),
        ((GREYS > 127).astype(int), "images = (images * 255).astype('uint8')"),
        (UNIT * 1.1 - 0.05, "images = (images.clip(0, 1) * 255).round().astype('uint8')"),
        (GREYS > 127, "images = images.astype('uint8') * 255"),
        (NOISE.transpose(0, 3, 1, 2), "images = images.transpose(0, 2, 3, 1)"),
        (np.zeros((2, 8, 12, 4), np.uint8), "images = images[..., :3]"),
        (np.zeros((8, 12, 4), np.uint8), "images = images[..., :3]"),
        (np.zeros((8, 12, 2), np.uint8), "images = images[..., 0]"),
    ],
    ids=lambda value: f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else "",
)
def test_w47_an_array_of_another_type_is_refused_with_the_line_that_converts_it(wrong, cure):
    with pytest.raises(ImageError) as refusal:
        given(wrong, GREY)
    assert str(refusal.value).endswith(f"got {wrong.dtype} {wrong.shape}: {cure}")
    assert "\n" not in str(refusal.value)
    converted: dict[str, np.ndarray] = {"images": wrong}
    exec(cure, converted)
    assert given(converted["images"], COLOUR).dtype == np.uint8


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ((UNIT - 0.45) / 0.22, "bring the values to 0..255 first"),
        (GREYS.astype(int) - 128, "bring the values to 0..255 first"),
        (GREYS.astype(complex), "give whole numbers"),
        ((GREYS > 127).astype(np.uint8), "images = images * 255"),
        ([GREYS, GREYS], "images = np.concatenate(images)"),
        ([GREYS[0], "a.png"], "images[0] = Image.fromarray(images[0])"),
        (Image.fromarray(GREYS[0].astype(np.int32)), "give mode L or RGB, 0 to 255"),
        ("", "is empty"),
        ("x" * 5000, "cannot be read"),
    ],
    ids=[
        "normalised",
        "signed",
        "complex",
        "zero and one",
        "batches",
        "mixed",
        "wide numbers",
        "empty name",
        "long name",
    ],
)
def test_no_line_is_given_that_would_make_another_picture(wrong, why):
    with pytest.raises(ImageError, match=re.escape(why)):
        given(wrong, GREY)


def test_the_line_for_floats_gives_back_the_picture():
    assert np.array_equal((UNIT * 255).round().astype("uint8"), GREYS)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (np.array([UNIT[0], None], dtype=object), "Image.fromarray(image)"),
        (np.full((1, 8, 12), np.nan), "not finite"),
        (np.full((1, 8, 12), np.inf, np.float32), "not finite"),
        (np.zeros((0, 8, 12), np.uint8), "no pixels"),
        (np.zeros((0, 8, 12)), "uint8"),
        (np.zeros((3, 0, 12), np.uint8), "no pixels"),
        (np.zeros((0,), np.uint8), "one axis for the pictures"),
        (np.zeros(100, np.uint8), "one axis for the pictures"),
        (np.zeros((2, 2, 8, 12, 3), np.uint8), "one axis for the pictures"),
        (np.uint8(3), "got numpy.uint8"),
        (np.zeros((2, 8, 12, 5), np.uint8), "1 or 3 channels"),
        (np.zeros((50, 1, 13), np.uint8), "5 pixels a side"),
        (np.array(["a.png", "b.png"]), "images.tolist()"),
        (np.zeros((1, 8, 12), complex), "uint8"),
        (np.zeros((1, 8, 12), "M8[s]"), "uint8"),
    ],
)
def test_an_array_that_is_no_picture_is_refused_in_one_line(wrong, why):
    with pytest.raises(ImageError) as refusal:
        given(wrong, GREY)
    assert why in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ([], "none were given"),
        ((), "none were given"),
        (None, "got NoneType"),
        (7, "got int"),
        (b"\x89PNG", "Image.open(io.BytesIO(images))"),
        (io.BytesIO(b"\x89PNG"), "Image.open(images)"),
        ({"a.png"}, "got set"),
        ((name for name in ["a.png"]), "images = list(images)"),
        ([GREYS[0], GREYS[0, :7]], "one shape, got uint8 (7, 12), uint8 (8, 12)"),
        ([GREYS[0], UNIT[0]], "one type"),
        ([GREYS[0], "a.png"], "images[0]: must be a file"),
        ([[0, 1], [2, 3]], "images[0]: must be a file"),
        ([None], "images[0]: must be a file"),
        (torch.zeros(2, 3, 8, 12), "got torch.Tensor torch.float32 torch.Size([2, 3, 8, 12])"),
        (torch.zeros(2, 3, 8, 12), "images = images.detach().cpu().numpy()"),
        ([torch.zeros(8, 12)], "images[0] = images[0].detach().cpu().numpy()"),
        (Image.new("F", (8, 8)), "floats for pixels"),
        (Image.new("L", (0, 8)), "has no pixels"),
    ],
)
def test_what_is_no_picture_at_all_is_refused_in_one_line(wrong, why):
    with pytest.raises(ImageError) as refusal:
        given(wrong, GREY)
    assert why in str(refusal.value) and "\n" not in str(refusal.value)


# --- Files and folders ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pipe.png", "pipe.npz"])
@pytest.mark.parametrize("form", [Path, str, lambda path: [path]])
def test_a_pipe_in_place_of_a_picture_is_refused_and_not_waited_for(tmp_path, name, form):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ImageError, match=rf"{name}: cannot be read \(is a pipe"):
        given(form(tmp_path / name), GREY)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
def test_a_device_in_place_of_a_picture_is_refused(path):
    with pytest.raises(ImageError, match=rf"{path}: cannot be read \(is a device"):
        given(path, GREY)


def test_a_folder_among_files_and_a_name_that_cannot_be_are_refused(tmp_path):
    (tmp_path / "photos.png").mkdir()
    for source in (tmp_path, [tmp_path / "photos.png"]):
        with pytest.raises(ImageError, match=r"photos\.png: is a folder"):
            given(source, GREY)
    with pytest.raises(ImageError, match="null"):
        given("a\0.png", GREY)


def test_files_passed_over_are_counted_by_kind(tmp_path, caplog):
    for name in ("a.png", "b.gif", "c.GIF", "d.txt", ".hidden", "Makefile"):
        picture(tmp_path / name, format="PNG")
    (tmp_path / "older").mkdir()
    with caplog.at_level(logging.WARNING):
        assert len(given(tmp_path, GREY)) == 1
    expected = "4 files passed over (2 .gif, 1 .txt, 1 no ending), 1 folder passed over (older)"
    assert caplog.messages == [f"{tmp_path}: {expected}"]


def test_w52_all_bad_files_are_named_in_one_go(tmp_path):
    for number in range(6):
        picture(tmp_path / f"{number}.png")
    (tmp_path / "8.jpg").write_bytes(b"")
    (tmp_path / "9.png").write_bytes((tmp_path / "0.png").read_bytes()[:60])
    for look in (lambda: given(tmp_path, GREY), lambda: measured(opened(tmp_path))):
        with pytest.raises(ImageError) as refusal:
            look()
        said = str(refusal.value)
        assert said.startswith("2 files cannot be used: ")
        assert "8.jpg: is not a sound" in said and "9.png: is not a sound" in said


def test_w52_bad_files_are_left_out_and_named_if_asked_for(tmp_path, caplog):
    picture(tmp_path / "0.png")
    (tmp_path / "9.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"9\.png.*--skip-bad"):
        measured(opened(tmp_path, skip_bad=False))
    lenient = opened(tmp_path, skip_bad=True)
    assert measured(lenient).count == 1
    assert "left out:" in caplog.text and "9.png" in caplog.text
    assert np.array_equal(lenient.at(GREY), GREYS[:1])


def test_leaving_out_bad_files_needs_a_good_one(tmp_path):
    (tmp_path / "9.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match="no picture is left"):
        measured(opened(tmp_path, skip_bad=True))


def test_what_is_judged_of_pictures_is_the_same_from_files_and_arrays(tmp_path):
    for number, image in enumerate(NOISE):
        Image.fromarray(image).save(tmp_path / f"{number:02}.png")
    files, array = opened(tmp_path), opened(NOISE)
    assert files.names[0] == "00.png" and array.names[0] == "picture 0"
    for one, other in zip(files.greys, array.greys, strict=True):
        assert np.array_equal(one, other)


def test_an_npz_gives_those_of_a_string_label_or_says_which_there_are(tmp_path):
    labels = np.array(["ana", "bo", "ana"])
    np.savez(tmp_path / "all.npz", images=GREYS, labels=labels)
    assert np.array_equal(given(tmp_path / "all.npz", GREY, label="ana"), GREYS[[0, 2]])
    for label, said in (
        (None, r"--label \(in Python, label=\): ana, bo"),
        ("eve", "eve; it has ana, bo"),
        (1, "ana, bo"),
    ):
        with pytest.raises(ImageError, match=said):
            given(tmp_path / "all.npz", GREY, label=label)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, float])
def test_a_number_may_be_given_as_text(tmp_path, kind):
    np.savez(tmp_path / "all.npz", images=GREYS, labels=np.array([4, 7, 4], kind))
    assert len(given(tmp_path / "all.npz", GREY, label="4")) == 2
    with pytest.raises(ImageError, match="no image with label ana; it has 4"):
        given(tmp_path / "all.npz", GREY, label="ana")


def test_many_threads_that_read_at_once_leave_the_warning_filters_as_they_were(tmp_path):
    path = picture(tmp_path / "a.png")
    before = list(warnings.filters)
    threads = [threading.Thread(target=given, args=([path] * 50, GREY)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before
