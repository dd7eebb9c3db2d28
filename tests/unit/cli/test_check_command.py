"""`privedge check`: what the parties would say of a model, in words."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import privedge
from privedge.cli.main import build
from privedge.errors import CheckpointError


@pytest.fixture(scope="module")
def ran():
    rows = np.random.default_rng(0).normal(size=(20, 8))
    return privedge.train(rows, owner="ana", preset="vector", components=2)


def test_a_model_that_was_just_trained_is_within_bounds(ran, tmp_path):
    ran.save(tmp_path / "ana.ran")
    done = CliRunner().invoke(build(), ["check", str(tmp_path / "ana.ran")])
    assert done.exit_code == 0 and "within bounds; no probes were given" in done.stdout


def test_an_encrypted_model_is_opened_with_its_passphrase_or_key_file(ran, tmp_path):
    (tmp_path / "key").write_bytes(bytes(range(32)))
    (tmp_path / "key").chmod(0o600)
    ran.save(tmp_path / "typed.ran", passphrase="four words of mine")
    ran.save(tmp_path / "keyed.ran", key_file=tmp_path / "key")
    typed = CliRunner(env={"PRIVEDGE_PASSPHRASE": "four words of mine"}).invoke(
        build(), ["check", str(tmp_path / "typed.ran"), "--json"]
    )
    assert json.loads(typed.stdout)["faults"] == []
    line = ["check", str(tmp_path / "keyed.ran"), "--key-file", str(tmp_path / "key")]
    assert CliRunner().invoke(build(), line).exit_code == 0


def test_what_is_out_of_bounds_is_said(ran, tmp_path):
    far = {name: value.copy() for name, value in ran.parameters.items()}
    far["0.mean"][:] = 63
    privedge.Ran(ran.spec, "ana", far).save(tmp_path / "ana.ran")
    done = CliRunner().invoke(build(), ["check", str(tmp_path / "ana.ran")])
    assert isinstance(done.exception, CheckpointError) and "\n" not in str(done.exception)


def test_probes_are_made_of_public_people_and_tell_what_fits_too_much_or_too_little(
    tmp_path, caplog
):
    rng = np.random.default_rng(1)
    people = rng.normal(size=(8, 1, 32)) + rng.normal(size=(8, 5, 32)) / 4
    labels = np.repeat(np.arange(8), 5)
    np.savez(tmp_path / "people.npz", vectors=people.reshape(-1, 32), labels=labels)
    np.savez(tmp_path / "others.npz", vectors=rng.normal(size=(64, 32)))
    shape = ["--preset", "vector", "--components", "2"]
    line = ["--people", str(tmp_path / "people.npz"), *shape]
    line += ["--out", str(tmp_path / "probes.npz")]
    made = CliRunner().invoke(build(), ["probes", "make", *line])
    assert made.exit_code == 0, made.output
    assert "only 40 different probes" in caplog.text
    caplog.clear()
    line += ["--images", str(tmp_path / "others.npz"), "--force"]
    made = CliRunner().invoke(build(), ["probes", "make", *line])
    assert made.exit_code == 0 and "probes" not in caplog.text

    def checked(rows):
        ran = privedge.train(rows, owner="ana", preset="vector", components=2)
        ran.save(tmp_path / "ana.ran")
        line = ["check", str(tmp_path / "ana.ran"), "--probes", str(tmp_path / "probes.npz")]
        return CliRunner().invoke(build(), line)

    assert checked(people[0]).exit_code == 0
    assert "is too much" in str(checked(people[0] + 10).exception)
    (tmp_path / "ana.ran").unlink()
    other = privedge.train(people[0], owner="ana", preset="vector", components=1)
    other.save(tmp_path / "ana.ran")
    line = ["check", str(tmp_path / "ana.ran"), "--probes", str(tmp_path / "probes.npz")]
    assert "another architecture" in str(CliRunner().invoke(build(), line).exception)


def test_noise_is_asked_for_with_epsilon_and_one_secret_encrypts(tmp_path):
    np.savez(tmp_path / "own.npz", vectors=np.eye(8))
    line = ["train", str(tmp_path / "own.npz"), "--owner", "ana", "--out", str(tmp_path / "a.ran")]
    alone = CliRunner().invoke(build(), [*line, "--preset", "vector", "--dp-norm", "1"])
    assert "give dp epsilon too" in str(alone.exception)
    both = CliRunner().invoke(build(), [*line, "--encrypt", "--key-file", str(tmp_path / "key")])
    assert both.exit_code == 2 and not (tmp_path / "a.ran").exists()
