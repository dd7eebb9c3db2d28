"""A cohort of faces: cut out on the devices of owners and clients, asked on real servers.

Faces are drawn, and a small detector and encoder stand for the recipe's (tests/drawn_faces.py).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from privedge.cli.main import build
from privedge.client.query import Client
from privedge.errors import ConfigError, ImageError, NoFaceFound, SeveralFaces
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.ran import features, inputs
from privedge.ran.named_spec import spec_named
from privedge.ran.public_files import PublicFiles
from privedge.user import checkpoint
from privedge.user.train import train
from privedge_lab.reference.model import PlainModel
from tests import drawn_faces

pytestmark = pytest.mark.mpc

OWNERS = ("ana", "ben", "eva")
CLIENT, READER = Identity(Role.CLIENT, "door"), Identity(Role.CLIENT, "reader")


@dataclass(frozen=True)
class World:
    folder: Path
    files: PublicFiles
    deployment: Deployment
    asked: list[Path]

    @property
    def options(self) -> tuple[object, ...]:
        return ("--encoder", self.files.encoder, "--detector", self.files.detector)

    @property
    def client(self) -> Path:
        """The configuration of a client that names no public file."""
        return self.deployment.write_client_config(CLIENT)


def privedge(*arguments: object) -> Result:
    return CliRunner().invoke(build(), [str(argument) for argument in arguments])


def photographed(folder: Path) -> list[Path]:
    """Write each owner's photographs, and two to ask about whose faces are elsewhere."""
    rng, asked = np.random.default_rng(0), []
    for number, owner in enumerate(OWNERS):
        (folder / "people" / owner).mkdir(parents=True)
        for photo in range(5):
            kept = folder / "people" / owner if photo < 3 else folder
            at = tuple(rng.integers(8, 32, 2) * 8.0 + 4)
            path = kept / f"{owner}-{photo}.png"
            drawn_faces.person(number, at, seed=int(rng.integers(1000))).save(path)
            asked += [path] if photo >= 3 else []
    drawn_faces.discs().save(folder / "people" / "ben" / "landscape.png")
    return asked


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("faces")
    asked = photographed(folder)
    files = PublicFiles.at(
        encoder=drawn_faces.encoder(folder / "encoder.onnx"),
        detector=drawn_faces.detector(folder / "detector.onnx"),
    )
    spec = spec_named("subspace-encoder", height=1, width=1, channels=3, files=files)
    with Deployment(folder / "servers", [CohortSetting.of(spec, "people")]) as deployment:
        world = World(folder, files, deployment, asked)
        trained = privedge(
            *("train-all", folder / "people", "--out", folder, "--processes", 1, "--skip-bad"),
            *("--preset", "subspace-encoder", *world.options),
        )
        assert trained.exit_code == 0, trained.output
        for owner in OWNERS:
            config = deployment.write_client_config(Identity(Role.OWNER, owner))
            sent = privedge(
                "upload", folder / f"{owner}.ran", "--cohort", "people", "--config", config
            )
            assert sent.exit_code == 0, sent.output
        yield world


def owner_of(path: Path) -> str:
    return path.name.partition("-")[0]


def test_a_face_is_told_wherever_it_is_in_the_photograph(world):
    options = ("--cohort", "people", "--config", world.client, *world.options, "--json")
    said = privedge("query", *world.asked, *options)
    assert json.loads(said.stdout)["answers"] == [owner_of(path) for path in world.asked]
    arrays = np.stack([np.asarray(Image.open(path)) for path in world.asked])
    files = {"encoder": world.files.encoder, "detector": world.files.detector}
    with Client.from_file(world.client, **files) as client:
        reply = client.identify(arrays, "people")
    assert [answer.owner for answer in reply.answers] == [owner_of(path) for path in world.asked]


def test_whole_pictures_would_not_be_told_apart(world):
    """The test above would pass without alignment if this one failed."""
    spec = checkpoint.load(world.folder / "ana.ran").spec
    # Of whole pictures this encoder makes next to nothing, so lengths are evened out.
    whole = spec.features.model_copy(update={"aligned": None, "unit_length": True})
    stretched = spec.model_copy(update={"features": whole})
    models = [
        train(world.folder / "people" / o, owner=o, preset=stretched, encoder=world.files.encoder)
        for o in OWNERS
    ]
    assert models[0].spec.digest() != spec.digest()
    given = inputs.given(world.asked, stretched.image_shape)
    extracted = features.extract(stretched, given, encoder=world.files.encoder)
    answers = PlainModel(models, 1.0).owners(extracted)
    assert list(answers) != [owner_of(path) for path in world.asked]


def test_what_has_no_face_or_several_is_refused_before_anything_is_asked(world, tmp_path):
    options = ("--cohort", "people", "--config", world.client, *world.options)
    drawn_faces.discs().save(tmp_path / "sea.png")
    two = drawn_faces.person(0, (100, 100))
    two.paste(drawn_faces.person(1, (60, 60)).crop((20, 20, 100, 100)), (200, 200))
    two.save(tmp_path / "two.png")
    for name, kind, text in (
        ("sea", NoFaceFound, "no face was found"),
        ("two", SeveralFaces, "2 faces"),
    ):
        said = privedge("query", tmp_path / f"{name}.png", *options)
        assert isinstance(said.exception, ImageError)
        assert f"{name}.png: " in str(said.exception) and text in str(said.exception), kind
    taken = privedge("query", tmp_path / "two.png", *options, "--largest-face", "--json")
    assert json.loads(taken.stdout)["answers"][0] in OWNERS[:2]


def test_training_names_what_has_no_face_and_leaves_it_out_only_if_told(world, tmp_path):
    people = world.folder / "people"
    options = ("--owner", "ben", "--out", tmp_path / "ben.ran", "--preset", "subspace-encoder")
    refused = privedge("train", people / "ben", *options, *world.options)
    assert "landscape.png: no face was found" in str(refused.exception)
    assert "--skip-bad" in str(refused.exception) and not (tmp_path / "ben.ran").exists()
    all_refused = privedge(
        *("train-all", people, "--out", tmp_path / "all", "--preset", "subspace-encoder"),
        *world.options,
    )
    assert "landscape.png: no face was found" in str(all_refused.exception)
    done = privedge("train", people / "ben", *options, *world.options, "--skip-bad")
    assert done.exit_code == 0, done.output
    mine, theirs = (checkpoint.load(each / "ben.ran") for each in (tmp_path, world.folder))
    for name, value in mine.parameters.items():
        np.testing.assert_array_equal(value, theirs.parameters[name])


def test_the_clients_file_may_name_the_detector_and_another_one_is_refused(world, tmp_path):
    config = world.deployment.write_client_config(READER, files=world.files)
    said = privedge("query", world.asked[0], "--cohort", "people", "--config", config, "--json")
    assert json.loads(said.stdout)["answers"] == [owner_of(world.asked[0])]
    other = drawn_faces.random_detector(tmp_path / "other.onnx", 1)
    for detector, text in ((None, "--detector"), (other, "another detector")):
        client = Client.from_file(world.client, encoder=world.files.encoder, detector=detector)
        with client, pytest.raises(ConfigError, match=text):
            client.identify(world.asked[0], "people")


def test_an_owner_alone_trains_for_the_cohort_with_the_files_of_its_own(world, tmp_path):
    owner = Identity(Role.OWNER, "ana")
    config = world.deployment.write_client_config(owner, tmp_path / "ana.toml", files=world.files)
    done = privedge(
        *("train", world.folder / "people" / "ana", "--owner", "ana", "--cohort", "people"),
        *("--config", config, "--out", tmp_path / "ana.ran"),
    )
    assert done.exit_code == 0, done.output
    assert checkpoint.load(tmp_path / "ana.ran").parameters.keys() == {
        "0.basis", "0.mean", "threshold"
    }  # fmt: skip


def test_a_question_is_timed_from_the_photograph_to_the_answer(world):
    fixed = ("bench", "faces", "--people", world.folder / "people", "--photos", 2, "--queries", 4)
    said = privedge(*fixed, "--preset", "subspace-encoder", *world.options, "--json")
    assert said.exit_code == 0, said.output
    found = json.loads(said.stdout)
    assert (found["owners"], found["photos"], found["queries"]) == (len(OWNERS), 2, 4)
    assert found["agreeing"] + found["ties"] == 4 and found["differing"] == 0
    steps = [found[name] for name in ("finding_s", "encoder_s", "private_s", "training_s")]
    assert min(steps) > 0 and found["call_s"] > found["private_s"]


def test_more_owners_than_there_are_photographs_for_are_refused(world):
    fixed = ("bench", "faces", "--people", world.folder / "people", "--photos", 9)
    refused = privedge(*fixed, "--preset", "subspace-encoder", *world.options)
    assert isinstance(refused.exception, ConfigError) and "fewer" in str(refused.exception)
