"""What people give in place of pictures and vectors is refused by what it is."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from privedge.errors import ConfigError, ImageError
from privedge.local.labelled import look
from privedge.local.pictures import places_in
from privedge.ran import images, npz
from privedge.ran.presets import preset
from privedge.ran.sets import in_folders


@pytest.mark.parametrize("name", ["images", "vectors"])
def test_an_npz_without_any_row_is_refused(tmp_path: Path, name: str) -> None:
    rows = np.zeros((0, 8, 8), np.uint8) if name == "images" else np.zeros((0, 8), np.float32)
    np.savez(tmp_path / "none.npz", **{name: rows}, labels=np.zeros(0, "U3"))

    with pytest.raises(ImageError, match=r"none\.npz: .* it holds no (pixels|values)"):
        npz.read(tmp_path / "none.npz").by_label()


def test_up_refuses_an_npz_without_any_vector(tmp_path: Path) -> None:
    np.savez(tmp_path / "none.npz", vectors=np.zeros((0, 8), np.float32), labels=np.zeros(0, "U3"))

    with pytest.raises(ImageError, match="it holds no values"):
        look(tmp_path / "none.npz")


def test_a_file_in_place_of_a_folder_is_said_to_be_none(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.zeros((4, 8), np.float32))

    with pytest.raises(ImageError, match="is no folder and no npz"):
        in_folders(tmp_path / "vectors.npy", skip_bad=None)
    with pytest.raises(ImageError, match="is no folder and no npz"):
        places_in(tmp_path / "vectors.npy", beside=tmp_path / "home")


@pytest.mark.parametrize(
    ("ending", "kind"), [("gif", "GIF"), ("bmp", "BMP"), ("tif", "TIFF"), ("npy", "NumPy")]
)
def test_a_file_of_another_kind_is_not_called_damaged(
    tmp_path: Path, ending: str, kind: str
) -> None:
    file = tmp_path / f"one.{ending}"
    if ending == "npy":
        np.save(file, np.zeros((8, 8), np.uint8))
    else:
        Image.new("L", (8, 8)).save(file)

    with pytest.raises(ImageError, match=rf"one\.{ending}: is of the kind {kind}, .* save it"):
        images.decode(file)


def test_pictures_one_folder_too_deep_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "ana" / "2023").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "ana" / "2023" / "1.png")

    with pytest.raises(ImageError, match=r"but folders \(2023\), which are not looked into"):
        images.required(tmp_path / "ana")


def test_vectors_of_one_value_are_counted_in_the_refusal() -> None:
    with pytest.raises(ConfigError, match="needs vectors of 2 to 65536 values, not 1"):
        preset("vector", size=1)
