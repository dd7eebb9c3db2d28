"""The Owner class, with two real parties that have no workers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from privedge.errors import CheckpointError, ConfigError, UnknownCohort, UnknownModel
from privedge.identity.roles import Role
from privedge.ran.feature_kinds import Oriented
from privedge.ran.in_words import differences
from privedge.ran.presets import preset
from privedge.user.checkpoint import Ran
from privedge.user.owner import Owner
from privedge.user.train import train
from tests.integration.model_server import COHORT, SPEC, Pair

PICTURES = np.random.default_rng(3).integers(0, 256, (12, 40, 40, 3), dtype=np.uint8)


@pytest.fixture
def pair(tmp_path, tls_for) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(tmp_path / "parties", tls_for, stack)


@pytest.fixture
def ana(pair) -> Owner:
    return Owner(pair.client_config())


@pytest.fixture(scope="module")
def rans() -> dict[str, Ran]:
    names = ("ana", "bo")
    return {name: train(PICTURES, owner=name, preset=SPEC) for name in names}


def test_a_model_is_uploaded_listed_and_deleted(ana, rans, pair):
    told = []
    receipt = ana.upload(rans["ana"], COHORT, progress=lambda *now: told.append(now))
    assert receipt.snapshot_id == pair.models[1].snapshot(COHORT).id
    assert {doing for doing, _, _ in told} == {"upload"}
    assert told[-1] == ("upload", 2 * receipt.bytes_per_party, 2 * receipt.bytes_per_party)
    for party in (0, 1):
        (row,) = ana.models(COHORT, party=party)
        assert (row.model_id, row.owner, row.state) == (receipt.model_id, "ana", "active")
    assert ana.models() == ana.models(COHORT)
    ana.delete(receipt.model_id)
    assert ana.models() == ()
    with pytest.raises(UnknownModel):
        ana.delete(receipt.model_id[::-1])
    with pytest.raises(UnknownCohort):
        ana.models("nowhere")


@pytest.mark.parametrize("form", [Path, str])
def test_a_model_may_be_named_by_its_file_and_an_owner_by_a_configuration(
    rans, pair, tls_for, tmp_path, form
):
    tls = tls_for(Role.OWNER, "ana")
    config = tmp_path / "owner.toml"
    config.write_text(
        f'party0 = "127.0.0.1:{pair.ports[0]}"\nparty1 = "127.0.0.1:{pair.ports[1]}"\n'
        f'[tls]\nca = "{tls.ca}"\ncertificate = "{tls.certificate}"\nkey = "{tls.key}"\n'
    )
    rans["ana"].save(form(tmp_path / "ana.ran"))
    owner = Owner.from_file(form(config))
    receipt = owner.upload(form(tmp_path / "ana.ran"), COHORT)
    assert [row.model_id for row in owner.models()] == [receipt.model_id]


def test_one_owner_works_from_many_threads(ana, rans):
    receipt = ana.upload(rans["ana"], COHORT)
    with ThreadPoolExecutor(4) as threads:
        listed = list(threads.map(lambda _: ana.models(COHORT), range(8)))
    assert [[row.model_id for row in rows] for rows in listed] == [[receipt.model_id]] * 8


def test_another_owners_model_is_not_sent(ana, rans):
    with pytest.raises(CheckpointError, match="this model is bo's"):
        ana.upload(rans["bo"], COHORT)


# --- Two owners, each on a device of their own, and one cohort ------------------------------------


def test_a_model_that_does_not_fit_is_refused_with_what_differs(ana, pair):
    colour = train(PICTURES, owner="ana", preset="subspace32", components=2)
    with pytest.raises(CheckpointError) as refusal:
        ana.upload(colour, COHORT)
    assert ": 1 channel there, 3 here; train it with --cohort digits" in str(refusal.value)
    assert pair.files(0) == pair.files(1) == []


def test_an_owner_of_colour_pictures_can_train_for_a_grey_cohort(ana):
    ran = train(PICTURES, owner="ana", preset=ana.architecture(COHORT))
    assert ran.spec == SPEC
    ana.upload(ran, COHORT)
    assert [row.state for row in ana.models(COHORT)] == ["active"]


def test_the_command_trains_for_a_cohort_too(pair, tls_for, tmp_path):
    from typer.testing import CliRunner

    from privedge.cli.main import build

    config = tmp_path / "owner.toml"
    tls = tls_for(Role.OWNER, "ana")
    config.write_text(
        f'party0 = "127.0.0.1:{pair.ports[0]}"\nparty1 = "127.0.0.1:{pair.ports[1]}"\n'
        f'[tls]\nca = "{tls.ca}"\ncertificate = "{tls.certificate}"\nkey = "{tls.key}"\n'
    )
    (tmp_path / "people" / "ana").mkdir(parents=True)
    for number, pixels in enumerate(PICTURES):
        Image.fromarray(pixels).save(tmp_path / "people" / "ana" / f"{number}.png")
    joining = ["--cohort", COHORT, "--config", str(config)]
    one = ["train", str(tmp_path / "people" / "ana"), "--owner", "ana"]
    one += ["--out", str(tmp_path / "ana.ran"), *joining]
    every = ["train-all", str(tmp_path / "people"), "--out", str(tmp_path / "models"), *joining]
    for command, out in ((one, "ana.ran"), (every, "models/ana.ran")):
        assert CliRunner().invoke(build(), command).exit_code == 0
        assert Ran.load(tmp_path / out).spec == SPEC
        assert CliRunner().invoke(build(), [*command, "--preset", "conv32"]).exit_code == 2
        conflict = CliRunner().invoke(build(), [*command, "--channels", "3"]).exception
        assert isinstance(conflict, ConfigError) and "1 channel there, 3 here" in str(conflict)


GREY = {"height": 32, "width": 32, "channels": 1}


@pytest.mark.parametrize(
    ("here", "said"),
    [
        (preset("subspace32", **GREY | {"channels": 3}), "1 channel there, 3 here"),
        (
            preset("subspace64", **GREY),
            "preset subspace32 there, subspace64 here; "
            "pictures of 32x32 there, 64x64 here; 64 components there, 32 here",
        ),
        (preset("subspace32", **GREY, components=5), "64 components there, 5 here"),
        (
            preset("conv32", **GREY),
            "preset subspace32 there, conv32 here; 64 components there, none here; "
            "feature map oriented there, pixels here",
        ),
        (
            preset("subspace32", **GREY).model_copy(update={"features": Oriented(cell=2)}),
            "the feature map oriented has other settings",
        ),
    ],
    ids=["channels", "size", "components", "network", "cell"],
)
def test_what_differs_is_said_field_by_field(here, said):
    assert differences(preset("subspace32", **GREY), here) == said


def test_networks_of_one_name_may_differ_in_their_layers():
    there = preset("conv32", **GREY)
    here = there.model_copy(update={"layers": there.layers[:-1]})
    assert differences(there, here) == "the layers differ"
