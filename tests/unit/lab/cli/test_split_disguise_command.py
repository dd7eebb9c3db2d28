"""`privedge split disguise`, from a key to answers, on scikit-learn's digits."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from privedge.cli.main import build
from privedge.errors import PrivEdgeError


def call(*arguments):
    result = CliRunner().invoke(build(), ["split", "disguise", *map(str, arguments)])
    if isinstance(result.exception, PrivEdgeError):
        raise result.exception
    return result


def answer_of(*arguments):
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A set, its key, its disguised images and a network trained on them."""
    folder = tmp_path_factory.mktemp("disguise")
    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)
    np.savez(folder / "plain.npz", images=images, labels=data.target, writer=data.target % 3)
    call("keygen", folder / "plain.npz", "--out", folder / "a.key", "--block", 2)
    applied = ("apply", folder / "plain.npz", "--key", folder / "a.key", "--shifts", 1)
    call(*applied, "--out", folder / "hidden.npz")
    return folder


def test_a_network_learns_from_disguised_digits_and_answers_for_them(folder):
    trained = answer_of(
        "train", folder / "hidden.npz", "--out", folder / "net.disguised",
        "--plain", folder / "plain.npz", "--epochs", 3,
    )  # fmt: skip
    assert trained["accuracy"] > 0.8 and trained["plain_accuracy"] > 0.9
    assert trained["loss_points"] == pytest.approx(
        100 * (trained["plain_accuracy"] - trained["accuracy"])
    )
    call("apply", folder / "plain.npz", "--key", folder / "a.key", "--out", folder / "new.npz")
    asked = answer_of("query", folder / "new.npz", "--network", folder / "net.disguised")
    assert len(asked["answers"]) == len(np.load(folder / "plain.npz")["labels"])
    assert asked["accuracy"] > 0.8

    # Images of another key of the same kind are refused: their answers would mean nothing.
    call("keygen", folder / "plain.npz", "--out", folder / "b.key", "--block", 2)
    call("apply", folder / "plain.npz", "--key", folder / "b.key", "--out", folder / "b.npz")
    with pytest.raises(PrivEdgeError, match="would mean nothing"):
        call("query", folder / "b.npz", "--network", folder / "net.disguised")


def test_only_training_images_get_shifted_copies(folder):
    with np.load(folder / "hidden.npz") as hidden:
        testing = hidden["is_test"] == 1
        assert hidden["disguised"].dtype == np.float32
        assert not hidden["copy"][testing].any()
        assert hidden["copy"][~testing].mean() == 0.5
        assert "writer" in hidden and "images" not in hidden


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "aes", "--block", 3), "--block: not for aes"),
        (("--method", "aes", "--noise", 0.1), "--noise: not for aes"),
        (("--method", "permutation", "--no-shuffle"), "--shuffle: not for permutation"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(folder, options, message):
    with pytest.raises(PrivEdgeError, match=message):
        call("keygen", folder / "plain.npz", "--out", folder / "no.key", *options)
    assert not (folder / "no.key").exists()


def test_keygen_tells_what_it_made_but_not_the_secret(folder):
    made = answer_of(
        "keygen", folder / "plain.npz", "--out", folder / "c.key",
        "--method", "aes", "--keys", "each",
    )  # fmt: skip
    assert made["settings"] == {"kind": "aes", "block": 4, "keys": "each", "shuffle": False}
    secret = json.loads((folder / "c.key").read_text())["secret"]
    assert secret not in json.dumps(made)


def test_a_network_file_that_was_touched_is_refused(folder, tmp_path):
    (tmp_path / "n.disguised").write_bytes(b"nonsense")
    with pytest.raises(PrivEdgeError, match="not a sound"):
        call("query", folder / "hidden.npz", "--network", tmp_path / "n.disguised")


@pytest.mark.parametrize("command", ["keygen", "apply", "train", "query"])
def test_every_command_has_an_example(command):
    assert "Example" in call(command, "--help").stdout
