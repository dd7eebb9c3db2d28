"""A cohort of vectors, from the files of docs/how-to/vectors.md to private answers.

One deployment: owners train and upload by the command line and from Python, and clients ask by the
command line, from Python and from Node. The labels are those of the fixed-point arithmetic in the
clear.
"""

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import privedge
from privedge.errors import CheckpointError, ImageError, PrivEdgeError
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.ran import features
from privedge.ran.presets import preset
from privedge_lab.reference.model import PlainModel
from tests.integration.asking import CLIENT

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "clients" / "node"
COHORT, PICTURES = "digits", "pictures"
MARGIN, MEAN_SHARE = 0.9, 0.35
SPEC = preset("vector", size=64, unit_length=True)
ASKED = 20
# Uploaded from Python, by an owner who is alone with the name of the cohort.
ALONE = "digit-9"

pytestmark = pytest.mark.mpc


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the how-to, and that of digits cut in two: to learn from, and to ask."""
    made = tmp_path_factory.mktemp("vectors")
    runpy.run_path(str(ROOT / "docs/how-to/vectors.py"))["main"](made)
    with np.load(made / "digits.npz") as held:
        vectors, labels = held["vectors"], held["labels"]
    drawn = np.random.default_rng(0).permutation(len(vectors))
    asked, learned = drawn[:ASKED], drawn[ASKED:]
    np.savez(made / "asked.npz", vectors=vectors[asked], labels=labels[asked])
    np.savez(made / "learned.npz", vectors=vectors[learned], labels=labels[learned])
    return made


@pytest.fixture(scope="module")
def deployment(folder: Path) -> Iterator[Deployment]:
    cohorts = [
        CohortSetting.of(SPEC, COHORT, margin=MARGIN, mean_share=MEAN_SHARE),
        CohortSetting(PICTURES, "subspace32", components=1),
    ]
    with Deployment(folder / "deployment", cohorts, {"pool": {"bundles": 0}}) as running:
        running.write_client_config(CLIENT, folder / "client.toml")
        picture = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
        ran = privedge.train(picture, owner="ana", preset="subspace32", components=1)
        owner_of(running, "ana").upload(ran, PICTURES)
        yield running


@pytest.fixture(scope="module")
def rans(deployment: Deployment, folder: Path) -> list[privedge.Ran]:
    """Trained by one command from the file's labels, and uploaded by each owner."""
    run("train-all", folder / "learned.npz", "--out", folder / "models", "--unit-length")
    files = sorted((folder / "models").glob("*.ran"))
    assert [file.stem for file in files] == [f"digit-{number}" for number in range(10)]
    for file in files[1:]:
        if file.stem != ALONE:
            owner_of(deployment, file.stem).upload(file, COHORT)
    config = deployment.write_client_config(identity(files[0].stem), folder / "owner.toml")
    run("upload", files[0], "--cohort", COHORT, "--config", config)
    with np.load(folder / "learned.npz") as held:
        own = held["vectors"][held["labels"] == ALONE].astype(np.float64)
    owner = owner_of(deployment, ALONE)
    alone = privedge.train(own, owner=ALONE, preset=owner.architecture(COHORT))
    owner.upload(alone, COHORT)
    trained = [privedge.Ran.load(file) for file in files]
    for name, value in trained[-1].parameters.items():
        assert np.array_equal(value, alone.parameters[name])
    return trained


@pytest.fixture(scope="module")
def asked(folder: Path) -> np.ndarray:
    """Vectors of all digits, and some of none."""
    with np.load(folder / "asked.npz") as held:
        known = held["vectors"]
    strange = np.random.default_rng(1).normal(size=(4, known.shape[1]))
    return np.concatenate([known, strange.astype(np.float32)])


@pytest.fixture(scope="module")
def expected(rans: list[privedge.Ran], asked: np.ndarray) -> list[str | None]:
    answers = PlainModel(rans, MARGIN, MEAN_SHARE).answers(features.extract(SPEC, asked))
    assert not any(answer.tie for answer in answers)
    return [answer.owner for answer in answers]


def identity(owner: str) -> Identity:
    return Identity(Role.OWNER, owner)


def owner_of(deployment: Deployment, name: str) -> privedge.Owner:
    return privedge.Owner(deployment.client_config(identity(name)))


def run(*arguments: object) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", "from privedge.cli.main import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_private_labels_are_those_of_the_fixed_point_in_the_clear(
    deployment, folder, asked, expected
):
    with privedge.Client.from_file(folder / "client.toml") as client:
        assert client.describe(COHORT).spec == SPEC
        for dtype in (np.float32, np.float64):
            reply = client.identify(asked.astype(dtype), COHORT)
            assert [answer.owner for answer in reply.answers] == expected
        mine = next(name for name in expected if name)
        verified = client.verify(asked, mine, COHORT).answers
    assert [answer.owner for answer in verified] == [
        mine if name == mine else None for name in expected
    ]
    with np.load(folder / "asked.npz") as held:
        right = sum(held["labels"][row] == expected[row] for row in range(ASKED))
    assert right >= 0.9 * ASKED


def test_the_command_line_asks_with_an_npz_and_ignores_its_labels(
    deployment, rans, folder, expected
):
    where = ("--cohort", COHORT, "--config", folder / "client.toml")
    file = folder / "asked.npz"
    said = run("query", file, *where).splitlines()
    known = expected[:ASKED]
    assert said == [f"{file} {row}: {name or 'unknown'}" for row, name in enumerate(known)]
    checked = json.loads(run("verify", file, "--owner", "digit-3", *where, "--json"))
    assert checked["answers"] == [name == "digit-3" for name in known]


REFUSED = {
    "another size": (COHORT, np.ones((2, 63)), ImageError, "64 values each, these have 63"),
    "integers": (COHORT, np.ones((2, 64), int), ImageError, "astype('float32')"),
    "length zero": (COHORT, np.zeros((2, 64)), ImageError, "no unit length"),
    "pictures": (COHORT, np.ones((2, 32, 32), np.uint8) * 9, ImageError, "these are pictures"),
    "vectors": (PICTURES, np.ones((2, 64)), ImageError, "a cohort of vectors"),
    "the npz": (PICTURES, "asked.npz", ImageError, "holds vectors, but pictures are needed here"),
}


@pytest.mark.parametrize(("cohort", "wrong", "error", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_client_refuses_what_the_cohort_cannot_be_asked(
    deployment, rans, folder, cohort, wrong, error, said
):
    given = folder / wrong if isinstance(wrong, str) else wrong
    with (
        privedge.Client.from_file(folder / "client.toml") as client,
        pytest.raises(error) as refusal,
    ):
        client.identify(given, cohort)
    assert said in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("unit_length", "size", "said"),
    [(False, 64, "unit length: yes there, no here"), (True, 32, "64 values there, 32 here")],
)
def test_a_model_of_other_vectors_is_refused_with_what_differs(deployment, unit_length, size, said):
    rows = np.random.default_rng(0).normal(size=(5, size))
    ran = privedge.train(rows, owner="zoe", unit_length=unit_length)
    with pytest.raises(PrivEdgeError, match=said):
        owner_of(deployment, "zoe").upload(ran, COHORT)


def test_a_model_of_vectors_is_refused_by_a_cohort_of_pictures(deployment, rans):
    with pytest.raises(CheckpointError, match="pictures there, vectors here"):
        owner_of(deployment, rans[0].owner).upload(rans[0], PICTURES)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is missing")
@pytest.mark.skipif(not (NODE / "dist/vectors.js").exists(), reason="run `make node` first")
def test_the_node_client_asks_a_cohort_of_vectors(deployment, folder, asked, expected):
    script = """
        import { readFileSync } from "node:fs";
        import { Client } from "./dist/index.js";
        const [config, cohort, rows] = process.argv.slice(1);
        const client = Client.fromFile(config);
        const vectors = JSON.parse(readFileSync(rows)).map((row) => Float32Array.from(row));
        const { answers } = await client.identify(vectors, { cohort });
        client.close();
        console.log(JSON.stringify(answers));
    """
    rows = folder / "rows.json"
    rows.write_text(json.dumps(asked.tolist()))
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script, folder / "client.toml", COHORT, rows],
        cwd=NODE,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert json.loads(done.stdout) == expected
