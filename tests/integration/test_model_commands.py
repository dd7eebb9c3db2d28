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


def test_w45_an_owner_is_told_what_both_parties_count_and_no_names(privedge, pair, ran_file):
    refused = privedge("my-exposure", COHORT)
    assert refused.returncode == 1
    assert "unknown model" in refused.stderr
    privedge("upload", str(ran_file), "--cohort", COHORT)
    for models in pair.models:
        models.budgets.query("carla", COHORT, 6, "ana")
        models.budgets.query("dora", COHORT, 2)
    told = privedge("my-exposure", COHORT, "--json")
    assert (told.returncode, told.stderr) == (0, "")
    both = json.loads(told.stdout)
    assert both["party0"] == both["party1"]
    assert list(both["party0"].pop("days").values()) == [8]
    assert both["party0"] == {
        "identities": 2,
        "largest_share": 0.75,
        "named": 6,
        "activated": 1,
        "refused": 0,
    }
    pair.models[1].budgets.query("eve", COHORT, 1)
    told = privedge("my-exposure", COHORT)
    assert told.stderr == "the parties differ; tell both operators if it stays so\n"
    assert "carla" not in told.stdout
    assert "rows on 20" in told.stdout


def test_a_deletion_has_a_receipt_of_both_parties(privedge, pair, ran_file, tmp_path, tls_for):
    model_id = json.loads(privedge("upload", str(ran_file), "--cohort", COHORT, "--json").stdout)[
        "model_id"
    ]
    file, ca = tmp_path / "deleted.json", str(tls_for(Role.OWNER, "ana").ca)
    deleted = privedge("models", "delete", model_id, "--receipt", str(file))
    told = f"{model_id}: deleted at both parties; receipt in {file}\n"
    assert (deleted.returncode, deleted.stdout, deleted.stderr) == (0, told, "")

    checked = verify(file, "--ca", ca)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert f"model {model_id} of ana in {COHORT} is deleted" in checked.stdout
    stated = json.loads(verify(file, "--ca", ca, "--json").stdout)["statements"]
    assert [each["party"] for each in stated] == ["party0", "party1"]
    assert [each["snapshot"] for each in stated] == [
        models.snapshot(COHORT).id for models in pair.models
    ]

    # Never over another file, and nothing is asked then.
    again = privedge("models", "delete", model_id, "--receipt", str(file))
    assert again.returncode == 1 and "is there already" in again.stderr
    # A deleted model may be deleted again, for another receipt.
    second = privedge("models", "delete", model_id, "--receipt", str(tmp_path / "second.json"))
    assert second.returncode == 0
    assert verify(tmp_path / "second.json", "--ca", ca).returncode == 0

    file.write_text(file.read_text().replace(model_id, "f" * 32))
    forged = verify(file, "--ca", ca)
    assert (forged.returncode, forged.stdout) == (1, "")
    assert "the signature is not of these facts" in forged.stderr
    assert forged.stderr.count("\n") == 1


def test_an_upload_has_a_receipt_of_both_parties(privedge, pair, ran_file, tmp_path, tls_for):
    file = tmp_path / "active.json"
    done = privedge("upload", str(ran_file), "--cohort", COHORT, "--receipt", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"; receipt in {file}\n")
    checked = verify(file, "--ca", str(tls_for(Role.OWNER, "ana").ca))
    assert (checked.returncode, checked.stderr) == (0, "")
    assert f"of ana in {COHORT} is active" in checked.stdout
    assert checked.stdout.count(pair.models[1].snapshot(COHORT).id) == 2


def test_a_party_that_is_away_leaves_no_receipt_and_the_deletion_is_made_again(
    privedge, pair, ran_file, tmp_path, tls_for
):
    model_id = json.loads(privedge("upload", str(ran_file), "--cohort", COHORT, "--json").stdout)[
        "model_id"
    ]
    file, ca = tmp_path / "deleted.json", str(tls_for(Role.OWNER, "ana").ca)
    pair.stop_party_1()
    refused = privedge("models", "delete", model_id, "--receipt", str(file))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"{model_id}: deleted at party 0; delete it again for party 1" in refused.stderr
    assert not file.exists()

    pair.start_party_1()
    # Party 1 lets the model go once it has heard from party 0, which comes back to it by itself.
    for _ in range(60):
        done = privedge("models", "delete", model_id, "--receipt", str(file))
        if done.returncode == 0:
            break
        assert "deleted at party 0; delete it again for party 1" in done.stderr
        assert not file.exists()
    assert (done.returncode, done.stderr) == (0, "")
    assert verify(file, "--ca", ca).returncode == 0


def verify(file, *options):
    """`privedge receipt verify`, which needs no configuration: it asks nobody."""
    start = "from privedge.cli.main import main; main()"
    command = [sys.executable, "-c", start, "receipt", "verify", str(file), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


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
