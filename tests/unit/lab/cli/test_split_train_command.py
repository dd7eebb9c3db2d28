"""`privedge split train`, as a user runs it, on scikit-learn's digits."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits
from typer.testing import CliRunner, Result

from privedge.cli.main import build
from privedge.errors import PrivEdgeError
from privedge_lab.baseline.head_file import load_head, load_key
from privedge_lab.baseline.model_file import load_tail
from privedge_lab.baseline.spec import Conv, Linear, NetworkSpec, Plain

SPEC = NetworkSpec(
    name="small",
    input=(1, 8, 8),
    mean=(0.5,),
    std=(0.5,),
    classes=10,
    layers=(
        Conv(name="conv1", inputs=1, outputs=8, kernel=3, padding=1),
        Plain(name="relu1", kind="relu"),
        Plain(name="flat", kind="flatten"),
        Linear(name="fc1", inputs=512, outputs=10),
    ),
)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)
    np.savez(folder / "digits.npz", images=images[:900], labels=data.target[:900])
    (folder / "small.json").write_text(SPEC.to_json())
    return folder


def privedge(*arguments: object) -> Result:
    return CliRunner().invoke(build(), [str(argument) for argument in arguments])


def train(digits, out, *more: object) -> Result:
    network = ("--network", digits / "small.json", "--cut", "relu1", "--epochs", 3)
    return privedge("split", "train", digits / "digits.npz", *network, "--out", out, *more)


def test_three_files_and_what_they_reach(digits, tmp_path):
    out = tmp_path / "made"
    result = train(digits, out, "--defence", "gaussian", "--strength", 0.1, "--json")
    assert result.exit_code == 0 and result.stderr == ""
    summary = json.loads(result.stdout)
    assert summary.pop("seconds") > 0
    assert 0.8 < summary.pop("test_accuracy") <= 1
    assert summary == {
        "head": str(out / "small.head"),
        "tail": str(out / "small.tail"),
        "key": str(out / "small.key"),
        "network": "small",
        "cut": "relu1",
        "defence": "gaussian",
        "strength": 0.1,
        "repeat": "per-input",
        "sent_shape": [8, 8, 8],
        "sent_bytes": 2048,
        "train_images": 720,
        "test_images": 180,
    }
    assert load_head(out / "small.head").tail == load_tail(out / "small.tail").digest
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o600}


def test_a_key_that_is_there_is_kept(digits, tmp_path):
    dropped = ("--defence", "dropping", "--strength", 0.5, "--repeat", "fixed")
    first = train(digits, tmp_path, *dropped)
    assert "test accuracy" in first.stdout
    key = load_key(tmp_path / "small.key")
    head = (tmp_path / "small.head").read_bytes()
    assert "256 of 512 outputs kept for 64 pixel values; the counting condition does not hold" in (
        first.stdout
    )
    counted = json.loads(train(digits, tmp_path, *dropped, "--json").stdout)["counting"]
    assert (counted["inputs"], counted["kept"], counted["holds"]) == (64, 256, False)
    assert load_key(tmp_path / "small.key") == key
    assert (tmp_path / "small.head").read_bytes() == head


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cut", "fc9"), "its cuts are conv1, relu1, flat"),
        (("--defence", "prayer"), "prayer: no such defence"),
        (("--defence", "gaussian", "--repeat", "fixed"), "unsafe"),
        (("--name", "../x"), "a name has"),
        (("--group", "document"), "document"),
        (("--network", "none.json"), "none.json"),
    ],
)
def test_what_a_user_gets_wrong_is_named_and_nothing_is_written(
    digits, tmp_path, arguments, message
):
    result = train(digits, tmp_path, *arguments)
    assert isinstance(result.exception, PrivEdgeError)
    assert message in str(result.exception) and "\n" not in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_preset_for_other_images_is_refused(digits, tmp_path):
    result = privedge(
        "split", "train", digits / "digits.npz", "--cut", "relu2", "--out", tmp_path / "a" / "b"
    )
    assert "cannot be created" in str(result.exception)
    result = privedge("split", "train", digits / "digits.npz", "--cut", "relu2", "--out", tmp_path)
    assert "lenet: needs images of (1, 28, 28)" in str(result.exception)


def test_help_says_what_the_server_sees():
    text = privedge("split", "--help").stdout
    assert "SEES" in text and "train" in text
    assert "privedge split train" in privedge("split", "train", "--help").stdout
