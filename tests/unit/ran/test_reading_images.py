"""Images from files: which are read, and which are refused in one line that names the file."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from privedge.errors import ImageError
from privedge.ran import images, inputs
from privedge.ran.spec import ImageShape

GREY = ImageShape(height=8, width=12, channels=1)
COLOUR = ImageShape(height=8, width=12, channels=3)
NOISE = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)


def write(path: Path, pixels: np.ndarray, **options) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def npz(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, kind)
    return buffer.getvalue()


def test_a_folder_is_read_in_order_of_name_and_other_files_are_left_out(tmp_path):
    write(tmp_path / "b.png", NOISE[..., 0])
    write(tmp_path / "a.PNG", NOISE[..., 1])
    (tmp_path / "notes.txt").write_text("not an image")
    read = inputs.given(tmp_path, GREY)
    assert read.dtype == np.uint8
    assert np.array_equal(read, np.stack([NOISE[..., 1], NOISE[..., 0]]))


def test_files_are_read_in_the_order_given(tmp_path):
    first, second = write(tmp_path / "z.png", NOISE), write(tmp_path / "a.png", NOISE[::-1].copy())
    assert np.array_equal(inputs.given([first, second], COLOUR), np.stack([NOISE, NOISE[::-1]]))


def test_one_file_is_enough(tmp_path):
    assert inputs.given(write(tmp_path / "a.jpg", NOISE), GREY).shape == (1, 8, 12)


def test_images_are_brought_to_the_size_and_channels_asked_for(tmp_path):
    write(tmp_path / "a.png", np.full((100, 40), 90, np.uint8))
    assert np.array_equal(inputs.given(tmp_path, COLOUR), np.full((1, 8, 12, 3), 90))


def test_a_photo_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    pixels = np.zeros((12, 8), np.uint8)
    pixels[:, :4] = 255
    write(tmp_path / "a.png", pixels, exif=exif)
    assert inputs.given(tmp_path, GREY)[0, 0].min() == 255


def test_transparency_becomes_white(tmp_path):
    write(tmp_path / "a.png", np.zeros((8, 12, 4), np.uint8))
    assert inputs.given(tmp_path, GREY).min() == 255


def test_16_bit_grey_keeps_its_upper_8_bits(tmp_path):
    write(tmp_path / "a.png", np.full((8, 12), 0x7F80, np.uint16))
    assert np.array_equal(inputs.given(tmp_path, GREY), np.full((1, 8, 12), 0x7F))


def test_measuring_gives_the_median_size_and_finds_colour(tmp_path):
    for index, width in enumerate((20, 30, 90)):
        write(tmp_path / f"{index}.png", np.zeros((10, width), np.uint8))
    assert inputs.measured(inputs.opened(tmp_path)) == images.Measured(10, 30, 1, 3)
    write(tmp_path / "3.png", NOISE)
    assert inputs.measured(inputs.opened(tmp_path)).channels == 3


def test_an_npz_gives_all_its_images(tmp_path):
    path = npz(tmp_path / "mine.npz", images=NOISE[None])
    assert np.array_equal(inputs.given(path, COLOUR), NOISE[None])
    assert inputs.measured(inputs.opened(path)) == images.Measured(8, 12, 3, 1)


def test_an_npz_with_labels_gives_those_of_the_label(tmp_path):
    pixels = np.arange(3, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(12, 2)
    path = npz(tmp_path / "all.npz", images=pixels, labels=np.array([4, 7, 4]))
    assert np.array_equal(inputs.given(path, GREY, label=4), pixels[[0, 2]])


@pytest.mark.parametrize(
    ("arrays", "label", "message"),
    [
        ({"images": NOISE[None], "labels": np.array([1])}, None, "--label"),
        ({"images": NOISE[None], "labels": np.array([1])}, 2, "no image with label 2"),
        ({"images": NOISE[None], "labels": np.array([1, 2])}, 1, "labels of shape"),
        ({"images": NOISE[None]}, 1, "no labels"),
        ({"pictures": NOISE[None]}, None, "no array called images"),
        ({"images": NOISE.astype(np.float32)}, None, "must be uint8"),
        ({"images": NOISE[None, :0]}, None, "must be uint8"),
        ({"images": np.array([NOISE, None], dtype=object)}, None, "without pickles"),
    ],
)
def test_an_unusable_npz_is_refused_by_name(tmp_path, arrays, label, message):
    path = npz(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ImageError, match=message) as refusal:
        inputs.given(path, GREY, label=label)
    assert "bad.npz" in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04K\x01."])
def test_a_file_that_only_claims_to_be_an_npz_is_refused(tmp_path, content):
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"bad\.npz: is not a sound npz"):
        inputs.given(path, GREY)


def test_a_missing_file_is_named(tmp_path):
    for name in ("none.npz", "none.png"):
        with pytest.raises(ImageError, match=name):
            inputs.given(tmp_path / name, GREY)


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"holds no picture"):
        inputs.given(tmp_path, GREY)


def test_a_label_is_for_npz_files_only(tmp_path):
    with pytest.raises(ImageError, match="only an npz"):
        inputs.given(write(tmp_path / "a.png", NOISE), GREY, label=1)


@pytest.mark.parametrize("side", [5_001, 15_000, 60_000])
def test_c17_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    with pytest.raises(ImageError, match=r"bomb\.png"):
        inputs.given(path, GREY)


def test_a_file_over_50_mb_is_refused(tmp_path):
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(images.MAX_FILE_BYTES + 1)
    with pytest.raises(ImageError, match=r"large\.png: larger than 50 MB"):
        inputs.given(path, GREY)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_refused_whatever_they_are_called(tmp_path, kind):
    path = tmp_path / "other.png"
    path.write_bytes(encoded(kind))
    with pytest.raises(ImageError, match=r"other\.png: is of the kind"):
        inputs.given(path, GREY)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_image_is_refused(tmp_path, kind):
    path = tmp_path / "cut.png"
    raw = encoded(kind)
    path.write_bytes(raw[: len(raw) * 2 // 3])
    with pytest.raises(ImageError, match=r"cut\.png: is not a sound"):
        inputs.given(path, GREY)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["PNG", "JPEG"]), data=st.data())
def test_a_damaged_image_is_read_or_refused_but_never_crashes(tmp_path, kind, data):
    raw = bytearray(encoded(kind))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.png"
    path.write_bytes(bytes(raw))
    try:
        assert inputs.given(path, GREY).shape == (1, 8, 12)
    except ImageError as refusal:
        assert "damaged.png" in str(refusal)


@pytest.mark.parametrize("side", [10_500, 20_000])
def test_a_picture_too_large_is_called_that_and_not_damaged(tmp_path, side):
    Image.new("1", (side, side)).save(tmp_path / "huge.png")
    with pytest.raises(ImageError, match=r"huge\.png: has more than 110 megapixels"):
        inputs.given(tmp_path / "huge.png", GREY)
