"""No file of the user's is replaced by a page, a picture or a network: one rule for all."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from privedge.cli.main import build
from privedge.errors import CheckpointError, ConfigError
from privedge_lab import outputs
from privedge_lab.evaluation import sheets
from privedge_lab.pages import png
from privedge_lab.pages.charts import Chart, Point, series

PAGE = b"<!doctype html><html><head><title>Mine</title></head></html>"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A set of pictures, a disguise's key for it, and the disguised set."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (60, 28, 28), dtype=np.uint8)
    np.savez(folder / "set.npz", images=pictures, labels=np.arange(60) % 3)
    (folder / "results").mkdir()
    disguise = ["split", "disguise"]
    keygen = [*disguise, "keygen", folder / "set.npz", "--out", folder / "a.key"]
    apply = [*disguise, "apply", folder / "set.npz", "--key", folder / "a.key"]
    for command in (keygen, [*apply, "--out", folder / "hidden.npz"]):
        done = CliRunner().invoke(build(), [*map(str, command)])
        assert done.exit_code == 0, done.output
    return folder


def photo(path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("photo.png", "split sweep {data}/set.npz --cuts relu2 --sheet {mine}"),
        ("photo.png", "split sweep {data}/set.npz --cuts relu2 --figure {mine}"),
        ("photo.png", "report {data}/results --out {mine}"),
        ("index.html", "report {data}/results --out {mine}"),
        ("index.html", "demo --out {folder}"),
        ("summary.json", "demo --out {folder}"),
        ("depth.png", "attack table --data {data}/set.npz --out {folder}"),
        ("sheet-relu2.png", "attack table --data {data}/set.npz --out {folder}"),
        ("rmt.png", "attack disguising --data {data}/set.npz --out {folder} --disguises rmt"),
        ("own.npz", "split disguise apply {data}/set.npz --key {data}/a.key --out {mine}"),
        ("own.npz", "split disguise train {data}/hidden.npz --epochs 1 --out {mine}"),
        ("lenet.head", "split train {data}/set.npz --cut relu2 --out {folder}"),
        ("lenet.tail", "split train {data}/set.npz --cut relu2 --out {folder}"),
    ],
)
def test_a_file_of_the_users_stays_and_is_named_at_once(data, tmp_path, name, command):
    mine = tmp_path / name
    if mine.suffix == ".png":
        photo(mine)
    elif mine.suffix == ".npz":
        np.savez(mine, images=np.zeros((2, 8, 8), np.uint8))
    else:
        mine.write_bytes(PAGE if mine.suffix == ".html" else b'{"thesis": 1}')
    before = mine.read_bytes()
    arguments = command.format(data=data, mine=mine, folder=tmp_path).split()
    done = CliRunner().invoke(build(), arguments)
    assert isinstance(done.exception, ConfigError)
    assert name in str(done.exception) and "choose another name" in str(done.exception)
    assert mine.read_bytes() == before


def test_what_privedge_wrote_is_replaced(data, tmp_path):
    sheet, figure, hidden = tmp_path / "s.png", tmp_path / "f.png", tmp_path / "hidden.npz"
    line = series("a", [Point(0, 1, 1, 1), Point(1, 2, 2, 2)])
    apply = ["split", "disguise", "apply", data / "set.npz", "--key", data / "a.key"]
    for _ in range(2):
        sheets.save(np.zeros((8, 8, 3), np.uint8), sheet)
        png.write([png.Panel("A panel", Chart("x", "y", (line,)))], figure)
        done = CliRunner().invoke(build(), [*map(str, apply), "--out", str(hidden)])
        assert done.exit_code == 0, done.output
    assert outputs.PICTURE.wrote(sheet) and outputs.PICTURE.wrote(figure)
    assert outputs.DISGUISED.wrote(hidden) and not outputs.DISGUISED.wrote(sheet)


def test_a_place_that_cannot_be_written_is_refused_at_once(data, tmp_path):
    sweep = f"split sweep {data}/set.npz --cuts relu2 --sheet {tmp_path}/none/s.png"
    done = CliRunner().invoke(build(), sweep.split())
    assert isinstance(done.exception, CheckpointError)
    assert "its folder does not exist" in str(done.exception)
