"""--encrypt and --key-file: what is written is closed, and every command that reads opens it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from privedge.cli.main import build
from privedge.errors import CheckpointError
from privedge.user import checkpoint, sealed
from privedge.user.checkpoint import Ran
from tests import onnx_files

WORDS = {"PRIVEDGE_PASSPHRASE": "correct horse"}


@pytest.fixture
def people(tmp_path):
    draw = np.random.default_rng(0)
    for owner in ("ana", "ben"):
        (tmp_path / "people" / owner).mkdir(parents=True)
        for number, pixels in enumerate(draw.integers(0, 255, (12, 32, 32), dtype=np.uint8)):
            Image.fromarray(pixels).save(tmp_path / "people" / owner / f"{number}.png")
    return tmp_path / "people"


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "models.key"
    path.write_bytes(os.urandom(32))
    path.chmod(0o600)
    return path


def privedge(*words, env=None):
    return CliRunner().invoke(build(), [*map(str, words)], env=env)


def test_a_model_is_trained_encrypted_and_read_again_with_its_passphrase(people, tmp_path):
    out = tmp_path / "ana.ran"
    linear = ("--preset", "subspace32-fine", "--out", out)
    command = ("train", people / "ana", "--owner", "ana", *linear, "--encrypt")
    assert privedge(*command, env=WORDS).exit_code == 0
    assert out.read_bytes().startswith(sealed.MAGIC)
    assert Ran.load(out, passphrase=WORDS["PRIVEDGE_PASSPHRASE"]).owner == "ana"
    assert json.loads(privedge("spec", out, env=WORDS).stdout)["name"] == "subspace32-fine"
    wrong = privedge("spec", out, env={"PRIVEDGE_PASSPHRASE": "another"})
    assert "this passphrase does not open it" in str(wrong.exception)
    # its own owner replaces it under a new passphrase, a plain one only on demand, nobody else ever
    plain = privedge(*command[:-1])
    assert isinstance(plain.exception, CheckpointError) and "is encrypted" in str(plain.exception)
    assert privedge(*command, env={"PRIVEDGE_PASSPHRASE": "another"}).exit_code == 0
    assert privedge(*command[:-1], "--force").exit_code == 0
    assert privedge(*command, env=WORDS).exit_code == 0
    other = privedge("train", people / "ben", "--owner", "ben", *linear)
    assert isinstance(other.exception, CheckpointError) and "of ana" in str(other.exception)


def test_without_a_terminal_and_a_passphrase_nothing_is_trained(people, tmp_path):
    out = tmp_path / "ana.ran"
    command = ("train", people / "ana", "--owner", "ana", "--out", out, "--encrypt")
    said = privedge(*command, env={"PRIVEDGE_PASSPHRASE": None})
    assert said.exit_code == 2 and "set PRIVEDGE_PASSPHRASE" in said.output
    assert not out.exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_all_owners_models_are_encrypted_also_by_other_processes(people, key, tmp_path, processes):
    out = tmp_path / "models"
    command = ["train-all", people, "--out", out, "--preset", "ran32", "--steps", 2]
    command += ["--processes", processes, "--key-file", key]
    assert privedge(*command).exit_code == 0
    assert all(file.read_bytes().startswith(sealed.MAGIC) for file in out.glob("*.ran"))
    kept = json.loads(privedge(*command, "--resume", "--json").stdout)
    assert [each["reused"] for each in kept["owners"]] == [True, True]
    without = privedge(*command[:-2], "--resume")
    assert "is encrypted with a key file" in str(without.exception)


def test_an_interrupted_training_leaves_nothing_in_the_clear(people, key, tmp_path):
    from privedge.ran.inputs import given
    from privedge.user.fitting import fit_ran
    from privedge.user.saves import Saves
    from privedge.user.settings import settings_for

    spec = checkpoint.RanSpec.from_json(_spec_of(people, tmp_path))
    lock = sealed.Lock.of(key_file=key)
    unfinished = tmp_path / "ana.ran.unfinished"
    settings, pictures = settings_for(spec, steps=6), given(people / "ana", spec.image)
    saving = Saves(unfinished, every=3, lock=lock)
    whole = fit_ran(pictures, spec, settings, "ana", saving=saving)
    assert unfinished.read_bytes().startswith(sealed.MAGIC)
    command = ("train", people / "ana", "--owner", "ana", "--preset", "ran32", "--steps", 6)
    command += ("--out", tmp_path / "ana.ran", "--resume")
    assert "is encrypted with a key file" in str(privedge(*command).exception)
    assert privedge(*command, "--key-file", key).exit_code == 0
    resumed = Ran.load(tmp_path / "ana.ran", key_file=key)
    assert all(
        np.array_equal(value, resumed.parameters[name]) for name, value in whole.parameters.items()
    )
    assert not unfinished.exists()


def _spec_of(people, tmp_path):
    out = tmp_path / "any.ran"
    command = ("train", people / "ana", "--owner", "ana", "--preset", "ran32", "--steps", 1)
    assert privedge(*command, "--out", out).exit_code == 0
    return Ran.load(out).spec.to_json()


def test_a_template_in_the_clear_is_warned_of(people, key, tmp_path, caplog):
    encoder = onnx_files.convolutional(tmp_path / "encoder.onnx")
    command = ("train", people / "ana", "--owner", "ana", "--out", tmp_path / "ana.ran")
    assert privedge(*command, "--encoder", encoder).exit_code == 0
    assert caplog.text.count("is a biometric template") == 1
    caplog.clear()
    assert privedge(*command, "--encoder", encoder, "--key-file", key).exit_code == 0
    assert privedge(*command, "--force").exit_code == 0
    assert "biometric" not in caplog.text


# Answers each prompt at a terminal of its own, and shows what stood on it.
TYPED = """
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    code = "from privedge.cli.main import main; main()"
    os.execv(sys.executable, [sys.executable, "-c", code, *sys.argv[1:]])
said = b""
while True:
    try:
        part = os.read(terminal, 4096)
    except OSError:  # the other end is closed
        break
    said += part
    if said.endswith(b": "):
        os.write(terminal, b"correct horse\\n")
sys.stdout.buffer.write(said)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_passphrase_is_asked_for_at_a_terminal_and_typed_twice(people, tmp_path):
    out = tmp_path / "ana.ran"
    command = ["train", str(people / "ana"), "--owner", "ana", "--out", str(out), "--encrypt"]
    command += ["--preset", "subspace32-fine"]
    environment = {key: value for key, value in os.environ.items() if key not in WORDS}
    done = subprocess.run(
        [sys.executable, "-c", TYPED, *command],
        capture_output=True, text=True, env=environment, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "confirmation: " in done.stdout and "correct horse" not in done.stdout
    assert Ran.load(out, passphrase="correct horse").owner == "ana"
