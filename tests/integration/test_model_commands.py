"""`privedge upload` and `privedge models` as a user runs them, against two real parties."""

import json
import subprocess
import sys
from contextlib import ExitStack

import numpy as np
import pytest
from model_server import COHORT, SPEC, Pair

from privedge.identity.roles import Role
from privedge.user import checkpoint


@pytest.fixture
def pair(tmp_path, tls_for):
    with ExitStack() as stack:
        yield Pair(tmp_path, tls_for, stack)


@pytest.fixture
def ran_file(tmp_path):
    parameters = {
        name: np.zeros(shape, dtype=np.float32) for name, shape in SPEC.parameters().items()
    }
    path = tmp_path / "ana.ran"
    checkpoint.save(checkpoint.Ran(SPEC, "ana", parameters), path)
    return path


@pytest.fixture
def privedge(pair, tmp_path, tls_for):
    """privedge(*arguments) -> the finished process, run as owner ana."""
    tls = tls_for(Role.OWNER, "ana")
    config = tmp_path / "client.toml"
    config.write_text(
        f'party0 = "127.0.0.1:{pair.ports[0]}"\nparty1 = "127.0.0.1:{pair.ports[1]}"\n'
        f'[tls]\nca = "{tls.ca}"\ncertificate = "{tls.certificate}"\nkey = "{tls.key}"\n'
    )

    def run(*arguments):
        start = "from privedge.cli.main import main; main()"
        command = [sys.executable, "-c", start, *arguments, "--config", str(config)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def test_a_model_is_uploaded_listed_and_deleted(privedge, pair, ran_file):
    done = privedge("upload", str(ran_file), "--cohort", COHORT, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    receipt = json.loads(done.stdout)
    assert receipt["snapshot_id"] == pair.models[1].snapshot(COHORT).id
    model_id = receipt["model_id"]

    shown = privedge("models", "list")
    assert shown.returncode == 0
    (line,) = (line for line in shown.stdout.splitlines() if line.startswith(model_id))
    assert line.split()[3] == "active" and line.endswith(f"{COHORT}, ana")
    (row,) = json.loads(privedge("models", "list", "--party", "1", "--json").stdout)["models"]
    assert (row["model_id"], row["state"], row["owner"]) == (model_id, "active", "ana")

    deleted = privedge("models", "delete", model_id)
    assert (deleted.returncode, deleted.stdout) == (0, f"{model_id}: deleted at both parties\n")
    assert json.loads(privedge("models", "list", "--json").stdout) == {"models": []}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("upload", "nonesuch.ran", "--cohort", COHORT), "nonesuch.ran"),
        (("upload", "RAN", "--cohort", "nowhere"), "party 0"),
        (("models", "delete", "0" * 32), "unknown model"),
        (("models", "delete", "ana.ran"), "'ana.ran': not a model's id"),
        (("models", "list", "--cohort", "nowhere"), "unknown cohort"),
    ],
)
def test_what_goes_wrong_is_one_line_and_exit_1(privedge, ran_file, arguments, why):
    done = privedge(*(str(ran_file) if word == "RAN" else word for word in arguments))
    assert done.returncode == 1
    assert done.stdout == "" and done.stderr.count("\n") == 1
    assert why in done.stderr
