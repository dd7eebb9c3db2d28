"""`privedge spec` writes what operators name in `spec_file`, and replaces no file by itself."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from privedge.cli.main import build
from privedge.errors import CheckpointError
from privedge.ran.presets import preset
from privedge.user.checkpoint import Ran

SPEC = preset("subspace32", height=32, width=32, channels=1, components=2)


@pytest.fixture
def ran(tmp_path):
    zeros = {name: np.zeros(shape, np.float32) for name, shape in SPEC.parameters().items()}
    Ran(SPEC, "ana", zeros).save(tmp_path / "ana.ran")
    return tmp_path / "ana.ran"


def run(*arguments):
    return CliRunner().invoke(build(), ["spec", *map(str, arguments)])


def test_the_spec_alone_is_shown_and_written(ran, tmp_path):
    assert run(ran).stdout == f"{SPEC.to_json()}\n"
    done = run(ran, "--out", tmp_path / "faces.json")
    assert (tmp_path / "faces.json").read_text() == f"{SPEC.to_json()}\n"
    assert done.stdout == (
        f"{tmp_path / 'faces.json'}: subspace32, grey pictures of 32x32, SHA-256 {SPEC.digest()}\n"
    )
    # An operator's server may run as another user.
    assert (tmp_path / "faces.json").stat().st_mode & 0o777 == 0o644


def test_json_has_the_digest_too(ran):
    said = json.loads(run(ran, "--json").stdout)
    assert said == {"digest": SPEC.digest(), "spec": json.loads(SPEC.to_json())}


def test_a_file_that_is_there_is_replaced_only_when_told(ran, tmp_path):
    (tmp_path / "faces.json").write_text("precious")
    refused = run(ran, "--out", tmp_path / "faces.json").exception
    assert isinstance(refused, CheckpointError) and "--force" in str(refused)
    assert (tmp_path / "faces.json").read_text() == "precious"
    assert run(ran, "--out", tmp_path / "faces.json", "--force").exit_code == 0
    assert (tmp_path / "faces.json").read_text() == f"{SPEC.to_json()}\n"
