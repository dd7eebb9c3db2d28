"""Cohorts behind a public encoder: a real ONNX file, real servers, the commands as people run them.

One deployment has a cohort of linear models and one of networks with a hidden layer.
"""

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from privedge.cli.main import build
from privedge.client.query import Client
from privedge.errors import ConfigError
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.ran import features, inputs, spec_file
from privedge.ran.public_files import PublicFiles
from privedge.user import checkpoint
from privedge.user.checkpoint import Ran
from privedge_lab.demo.digits import Digits
from privedge_lab.reference.model import PlainModel
from tests.onnx_files import convolutional, digest

pytestmark = pytest.mark.mpc

OWNERS, PHOTOS, ASKED = ("ana", "ben", "eva"), 6, 4
MARGIN = 0.95
COHORTS = {"linear": "subspace-encoder", "networks": "ran-encoder"}


def privedge(*arguments: object) -> Result:
    return CliRunner().invoke(build(), [str(argument) for argument in arguments])


@dataclass(frozen=True)
class World:
    """Folders of pictures, the encoder, one model an owner in each cohort, and the servers."""

    folder: Path
    encoder: Path
    asked: list[Path]
    models: dict[str, list[Ran]]
    deployment: Deployment

    def config(self, who: Identity, encoder: Path | None) -> Path:
        path = self.folder / f"{who.role}-{who.name}.toml"
        files = PublicFiles(encoder)
        return self.deployment.write_client_config(who, path, files=files)

    def client(self, encoder: Path | None = None) -> Path:
        name = "with" if encoder else "without"
        return self.config(Identity(Role.CLIENT, name), encoder)


def photographed(digits: Digits, folder: Path) -> list[Path]:
    """Writes each owner's pictures to a folder, and those to ask with beside them."""
    asked = []
    for number, owner in enumerate(OWNERS):
        (folder / "people" / owner).mkdir(parents=True)
        for place, image in enumerate(digits.train_images[number][: PHOTOS + ASKED]):
            kept = folder / "people" / owner if place < PHOTOS else folder
            path = kept / f"{owner}-{place}.png"
            # In colour, so that the order of channels matters.
            colours = np.stack([image, 255 - image, image // 2], axis=-1)
            Image.fromarray(colours).save(path)
            if place >= PHOTOS:
                asked.append(path)
    return asked


def wrapped(encoder: Path, preset: str, out: Path) -> None:
    conventions = ("--order", "bgr", "--scale", "1/255", "--offset", "-0.5", "--unit-length")
    result = privedge("encoder", "wrap", encoder, "--preset", preset, *conventions, "--out", out)
    assert result.exit_code == 0, result.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory, some_digits: Digits) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("encoders")
    asked = photographed(some_digits, folder)
    encoder = convolutional(folder / "encoder.onnx", stale=True)
    settings = []
    for cohort, preset in COHORTS.items():
        wrapped(encoder, preset, folder / f"{cohort}.json")
        spec = spec_file.read(folder / f"{cohort}.json")
        settings.append(CohortSetting.of(spec, cohort, margin=MARGIN))
    with Deployment(folder / "servers", settings) as deployment:
        models = {}
        for cohort in COHORTS:
            out = folder / cohort
            result = privedge(
                *("train-all", folder / "people", "--out", out, "--processes", 1),
                *("--spec", folder / f"{cohort}.json", "--encoder", encoder),
            )
            assert result.exit_code == 0, result.output
            models[cohort] = [checkpoint.load(out / f"{owner}.ran") for owner in OWNERS]
            for owner in OWNERS:
                config = deployment.write_client_config(Identity(Role.OWNER, owner))
                file = out / f"{owner}.ran"
                sent = privedge("upload", file, "--cohort", cohort, "--config", config)
                assert sent.exit_code == 0, sent.output
        yield World(folder, encoder, asked, models, deployment)


def in_the_clear(world: World, cohort: str) -> list[str | None]:
    models = world.models[cohort]
    images = inputs.given(world.asked, models[0].spec.image_shape)
    given = features.extract(models[0].spec, images, encoder=world.encoder)
    return [answer.owner for answer in PlainModel(models, MARGIN).answers(given)]


@pytest.mark.parametrize("cohort", COHORTS)
def test_private_answers_are_those_of_the_models_in_the_clear(world, cohort):
    expected = in_the_clear(world, cohort)
    assert len(set(expected)) > 2  # the encoder and these models tell owners apart
    with Client.from_file(world.client(), encoder=world.encoder) as client:
        answers = client.identify(world.asked, cohort).answers
    assert [answer.owner for answer in answers] == expected
    options = ("--cohort", cohort, "--config", world.client(), "--json")
    said = privedge("query", *world.asked, *options, "--encoder", world.encoder)
    assert json.loads(said.stdout)["answers"] == expected


def test_the_clients_file_may_name_the_encoder(world):
    expected = in_the_clear(world, "linear")
    owner = next(name for name in expected if name is not None)
    config = world.client(world.encoder)
    assert tomllib.loads(config.read_text())["encoder"] == str(world.encoder)
    options = ("--owner", owner, "--cohort", "linear", "--config", config, "--json")
    said = privedge("verify", *world.asked, *options)
    assert json.loads(said.stdout)["answers"] == [name == owner for name in expected]


def test_a_client_without_the_encoder_or_with_another_is_told_which_one_it_needs(world, tmp_path):
    other = convolutional(tmp_path / "other.onnx", seed=9)
    picture = world.asked[0]
    needed = digest(world.encoder)
    for encoder, said in ((None, f"{needed}.*--encoder"), (other, f"{digest(other)}.*{needed}")):
        client = Client.from_file(world.client(), encoder=encoder)
        with client, pytest.raises(ConfigError, match=said):
            client.identify(picture, "linear")


def test_an_owner_alone_trains_for_the_cohort_with_the_encoder_of_its_file(world, tmp_path):
    pictures = world.folder / "people" / "ana"
    out = tmp_path / "ana.ran"
    joining = ("--owner", "ana", "--out", out, "--cohort", "linear", "--config")
    alone = world.config(Identity(Role.OWNER, "ana"), None)
    refused = privedge("train", pictures, *joining, alone)
    assert isinstance(refused.exception, ConfigError)
    assert digest(world.encoder) in str(refused.exception)
    assert not out.exists()
    named = world.config(Identity(Role.OWNER, "ana"), world.encoder)
    assert privedge("train", pictures, *joining, named).exit_code == 0
    mine, before = checkpoint.load(out), world.models["linear"][0]
    assert mine.spec == before.spec
    assert all(np.array_equal(mine.parameters[name], before.parameters[name])
               for name in mine.parameters)  # fmt: skip


def test_the_parties_never_had_the_file(world):
    held = [path for path in world.deployment.folder.rglob("*") if path.is_file()]
    assert held
    assert digest(world.encoder) not in {digest(path) for path in held}


def test_doctor_says_what_is_wrong_with_the_encoder_of_the_file(world, tmp_path):
    other = convolutional(tmp_path / "other.onnx", seed=9)
    for encoder, said in ((other, digest(world.encoder)), (tmp_path / "none", "cannot be read")):
        result = privedge("doctor", "--config", world.client(encoder), "--json")
        lines = [each["line"] for each in json.loads(result.stdout)["faults"]]
        assert any(said in line for line in lines), lines
        assert result.exit_code == 1
    found = json.loads(privedge("doctor", "--config", world.client(), "--json").stdout)
    hints = [each["line"] for each in found["hints"] if each["about"] == "encoder"]
    assert len(hints) == len(COHORTS)
    result = privedge("doctor", "--config", world.client(world.encoder), "--json")
    found = json.loads(result.stdout)
    assert not [each for each in found["hints"] + found["faults"] if each["about"] == "encoder"]
