"""clients/node asks, verifies and uploads: its own tests, against a running deployment.

They need node and what `make node` installs. .ci/run provides both.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from privedge.client.query import Client
from privedge.identity.certificates import create_authority
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.ran import features, inputs
from privedge.ran.feature_kinds import Pixels
from privedge.ran.spec import ImageShape, RanSpec, Subspace
from privedge.sharing.fixed_point import encode
from privedge.sharing.ring import to_bytes
from privedge.user.owner import Owner
from privedge.user.served_model import Model
from tests.integration.asking import CLIENT
from tests.integration.conftest import COHORT

NODE = Path(__file__).resolve().parents[2] / "clients" / "node"
SIDE = 24
OTHER = Identity(Role.CLIENT, "cleo")
SPECS = [
    RanSpec(
        name="files",
        image=ImageShape(height=SIDE, width=SIDE, channels=channels),
        features=Pixels(),
        layers=(Subspace(components=1),),
    )
    for channels in (1, 3)
]

pytestmark = [
    pytest.mark.mpc,
    pytest.mark.skipif(shutil.which("node") is None, reason="node is missing"),
    pytest.mark.skipif(not (NODE / "dist").exists(), reason="run `make node` first"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[dict[str, Any]]:
    """A model of signals in two cohorts, and what Python's client answers."""
    folder = tmp_path_factory.mktemp("served")
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv1d(2, 4, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(12, 3)
    )
    models = [
        Model.from_torch(network, (2, 8), owner="clinic", name="signals", outputs=outputs)
        for outputs in ("label", "scores")
    ]
    models[0].save(folder / "signals.model")
    inputs = np.random.default_rng(4).uniform(-1, 1, (3, 2, 8)).astype(np.float32)
    settings = [
        CohortSetting(model.spec.outputs.word, owners=("clinic",), spec_json=model.spec.to_json())
        for model in models
    ]
    with Deployment(folder, settings) as running:
        owner = Owner(running.client_config(Identity(Role.OWNER, "clinic")))
        for model in models:
            owner.upload(model, model.spec.outputs.word)
        with Client(running.client_config(CLIENT)) as client:
            cohorts = [
                {
                    "cohort": setting.name,
                    "answers": [
                        {"label": each.label, "name": each.name, "scores": each.scores}
                        for each in client.predict(inputs, setting.name).answers
                    ],
                }
                for setting in settings
            ]
        yield {
            "client": str(running.write_client_config(CLIENT)),
            "model": str(folder / "signals.model"),
            "input": [2, 8],
            "inputs": inputs.reshape(3, -1).tolist(),
            "cohorts": cohorts,
        }


def test_the_node_client_answers_as_pythons_does(deployment, rans, served, some_digits, tmp_path):
    live = {
        **asked(deployment, some_digits.test_images, tmp_path),
        **uploaded(deployment, rans, tmp_path),
        **written(tmp_path),
        "served": served,
        "certs": str(deployment.folder / "certs"),
        "other_client": str(deployment.write_client_config(OTHER, tmp_path / "other.toml")),
        "other_ca": str(other_authority(tmp_path)),
    }
    file = tmp_path / "live.json"
    file.write_text(json.dumps(live))
    ended = node("--test", PRIVEDGE_LIVE=str(file))
    sys.stdout.write(ended.stdout)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert re.search(r"^\S+ skipped 0$", ended.stdout, re.MULTILINE)


def test_the_example_of_its_readme_runs(deployment, some_digits, tmp_path):
    picture, config = tmp_path / "digit.png", tmp_path / "client.toml"
    Image.fromarray(some_digits.test_images[0]).save(picture)
    deployment.write_client_config(CLIENT, config)
    with Client(deployment.client_config(CLIENT)) as client:
        (answer,) = client.identify(picture, COHORT).answers
    asked = node("examples/identify.mjs", str(config), COHORT, str(picture))
    assert asked.stdout.splitlines()[0] == f"{picture}: {answer.owner or 'unknown'}"
    refused = node("examples/identify.mjs", str(config), "nowhere", str(picture))
    assert refused.returncode == 1
    assert refused.stderr.startswith("UnknownCohort: party ")


def node(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """What was built by `make node`. It is not built here: other tests may be reading it."""
    built = (NODE / "dist" / "index.js").stat().st_mtime
    newest = max(path.stat().st_mtime for path in (NODE / "src").rglob("*.ts"))
    assert newest <= built, "dist is older than src: run make node"
    return subprocess.run(
        ["node", *arguments],
        cwd=NODE,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
    )


def asked(deployment: Deployment, images: np.ndarray, folder: Path) -> dict[str, Any]:
    """Pictures, some of them of nobody, and what Python's client answers."""
    noise = np.random.default_rng(1).integers(0, 256, (2, 32, 32), dtype=np.uint8)
    pictures = np.concatenate([images[:8], noise])
    config = deployment.client_config(CLIENT)
    with Client(config) as client:
        cohort = client.describe(COHORT)
        pictures = inputs.given(pictures, cohort.spec.image)
        answers = [answer.owner for answer in client.identify(pictures, COHORT).answers]
        return {
            "client": str(deployment.write_client_config(CLIENT, folder / "client.toml")),
            "cohort": COHORT,
            "cohorts": list(client.cohorts()),
            "owners": list(cohort.owners),
            "pictures": [
                {"data": each.tobytes().hex(), "width": each.shape[1], "height": each.shape[0]}
                for each in pictures
            ],
            "answers": answers,
        }


def uploaded(deployment: Deployment, rans: list[Any], folder: Path) -> dict[str, Any]:
    """A model for a cohort that has none, and one of somebody else."""
    mine, other = rans[3], rans[4]
    mine.save(folder / "mine.ran")
    other.save(folder / "other.ran")
    who = Identity(Role.OWNER, mine.owner)
    return {
        "owner": str(deployment.write_client_config(who, folder / "owner.toml")),
        "owner_name": mine.owner,
        "model": str(folder / "mine.ran"),
        "other_model": str(folder / "other.ran"),
        "upload_cohort": "mean",
    }


def written(folder: Path) -> dict[str, Any]:
    """Files of every kind that is read, with the numbers that Python makes of them."""
    drawn = np.random.default_rng(2).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    colour = Image.fromarray(drawn).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    sideways = Image.Exif()
    sideways[0x0112] = 6
    colour.save(folder / "colour.png")
    colour.convert("L").save(folder / "grey.png")
    colour.quantize(16).save(folder / "palette.png")
    colour.save(folder / "colour.jpg", quality=80)
    colour.save(folder / "fine.jpg", quality=95, subsampling=0)
    colour.save(folder / "progressive.jpg", progressive=True)
    colour.convert("L").save(folder / "grey.jpg")
    colour.save(folder / "sideways.jpg", exif=sideways)
    read = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))
    colour.convert("RGBA").save(folder / "opacity.png")
    Image.fromarray(np.full((SIDE, SIDE), 4000, np.uint16)).save(folder / "wide.png")
    colour.convert("CMYK").save(folder / "cmyk.jpg")
    colour.save(folder / "picture.gif")
    (folder / "torn.jpg").write_bytes((folder / "fine.jpg").read_bytes()[:200])
    refused = ["opacity.png", "wide.png", "cmyk.jpg", "picture.gif", "torn.jpg", "absent.png"]
    return {
        "files": [
            {"path": str(path), "spec": spec.to_json(), "words": words_of(path, spec)}
            for path in read
            for spec in SPECS
        ],
        "refused_files": [str(folder / name) for name in refused],
    }


def words_of(path: Path, spec: RanSpec) -> str:
    return to_bytes(encode(features.extract(spec, inputs.given(path, spec.image)))).hex()


def other_authority(folder: Path) -> Path:
    create_authority(folder / "other")
    return folder / "other" / "ca.crt"
