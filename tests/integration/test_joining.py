"""An owner alone joins a cohort, also from a computer that lacks what Linux has (elsewhere.py)."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from typer.testing import CliRunner

from privedge.cli.main import build
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.ran.presets import preset
from privedge.user.owner import Owner
from privedge_lab.demo.digits import Digits

ROOT = Path(__file__).parents[2]
OPEN, COLOUR, CLOSED = "digits", "colour", "closed"
SETTINGS = [
    CohortSetting(OPEN, "subspace32", components=4, margin=0.9),
    CohortSetting(COLOUR, "subspace32", channels=3, owners=("ana",), clients=("clinic-*",)),
    CohortSetting(CLOSED, "subspace32", owners=(), clients=()),
]
PEOPLE = {"ana": 3, "bo": 5}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("joining")
    with Deployment(folder, SETTINGS, {"pool": {"bundles": 0}}) as running:
        yield running


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, some_digits: Digits) -> Path:
    """A folder for each of PEOPLE, who has pictures of one digit: bo's are JPEGs in colour."""
    folder = tmp_path_factory.mktemp("photos")
    for name, digit in PEOPLE.items():
        (folder / name).mkdir()
        for number, pixels in enumerate(some_digits.train_images[digit][:20]):
            picture = Image.fromarray(pixels)
            if name == "ana":
                picture.save(folder / name / f"{number:02}.png")
            else:
                ImageOps.colorize(picture, "navy", "khaki").save(folder / name / f"{number:02}.jpg")
    return folder


@pytest.fixture(scope="module")
def config(deployment: Deployment):
    """config("owner", "ana") -> the file of that caller."""
    return lambda role, name: str(deployment.write_client_config(Identity(Role(role), name)))


def listed(file: str) -> dict[str, dict]:
    done = CliRunner().invoke(build(), ["cohorts", "--config", file, "--json"])
    assert done.exit_code == 0, done.exception
    return {each["name"]: each for each in json.loads(done.stdout)["cohorts"]}


@pytest.mark.parametrize(
    ("role", "name", "sees"),
    [
        ("owner", "ana", {OPEN, COLOUR}),
        ("owner", "bo", {OPEN}),
        ("client", "eve", {OPEN}),
        ("client", "clinic-3", {OPEN, COLOUR}),
    ],
)
def test_a_caller_sees_the_cohorts_that_are_for_it(config, role, name, sees):
    assert listed(config(role, name)).keys() == sees


def test_a_list_says_what_a_cohort_takes_and_whether_it_may_answer_unknown(config):
    found = listed(config("client", "clinic-3"))
    spec = preset("subspace32", height=32, width=32, channels=1, components=4)
    open_one = found[OPEN]
    del open_one["owners"], open_one["can_answer_unknown"]  # they grow in the tests below
    assert open_one == {
        "name": OPEN,
        "takes": "picture",
        "image": {"height": 32, "width": 32, "channels": 1},
        "features": {"kind": "oriented", "cell": 4},
        "preset": "subspace32",
        "components": 4,
        "spec_digest": spec.digest(),
        "margin": 0.9,
        "mean_share": 0.0,
        "rivals": 0,
        "parties_agree": True,
    }
    assert (found[COLOUR]["owners"], found[COLOUR]["image"]["channels"]) == (0, 3)
    ana = config("owner", "ana")
    assert Owner.from_file(ana).cohorts() == (COLOUR, OPEN)
    shown = CliRunner().invoke(build(), ["cohorts", "--config", ana]).stdout
    assert "colour pictures of 32x32" in shown


def test_what_an_owner_asks_for_beside_a_cohort_is_refused_with_what_differs(
    config, photos, tmp_path
):
    out = tmp_path / "ana.ran"
    command = ["train", str(photos / "ana"), "--owner", "ana", "--out", str(out)]
    command += ["--cohort", OPEN, "--config", config("owner", "ana")]
    refused = CliRunner().invoke(build(), [*command, "--channels", "3", "--components", "9"])
    assert "4 components there, 9 here; 1 channel there, 3 here" in str(refused.exception)
    assert not out.exists()


@pytest.mark.parametrize("system", ["Windows", "Darwin"])
def test_a_computer_that_is_not_linux_joins_and_asks(system, config, photos, tmp_path):
    ana, bo, eve = config("owner", "ana"), config("owner", "bo"), config("client", "eve")
    picture = str(photos / "bo" / "00.jpg")
    ca, mine = str(tmp_path / "ca"), str(tmp_path / "mine/owner-cleo")
    commands = [
        ["--help"],
        ["certs", "init", ca],
        ["certs", "request", str(tmp_path / "mine"), "owner", "cleo"],
        ["certs", "sign", ca, f"{mine}.csr", "owner", "cleo", "--out", f"{mine}.crt"],
        ["certs", "check", f"{mine}.crt", "--ca", f"{ca}/ca.crt"],
        ["cohorts", "--config", ana],
        *(
            [
                *("train", str(photos / name), "--owner", name, "--cohort", OPEN),
                *("--out", str(tmp_path / f"{name}.ran"), "--config", file),
            ]
            for name, file in (("ana", ana), ("bo", bo))
        ),
        ["train-all", str(photos), "--out", str(tmp_path / "models")],
        ["spec", str(tmp_path / "ana.ran"), "--out", str(tmp_path / "spec.json")],
        ["upload", str(tmp_path / "ana.ran"), "--cohort", OPEN, "--config", ana],
        ["upload", str(tmp_path / "bo.ran"), "--cohort", OPEN, "--config", bo],
        ["models", "list", "--config", bo],
        ["doctor", "--config", eve],
        ["query", picture, "--cohort", OPEN, "--config", eve],
        ["verify", picture, "--owner", "bo", "--cohort", OPEN, "--config", eve],
        ["up", str(photos)],
    ]
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/elsewhere.py"), system],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    *answers, up = json.loads(done.stdout)
    assert [each for each in answers if each["status"] != 0] == []
    asked, verified = answers[-2:]
    assert asked["said"] == f"{picture}: bo\n"
    assert verified["said"] == f"{picture}: yes\n"
    assert up["status"] == 1
    assert f"servers, which run on Linux only, and this is {system}" in up["said"]


@pytest.mark.parametrize("system", ["Windows", "Darwin"])
def test_a_server_elsewhere_says_in_one_line_that_it_needs_linux(system):
    code = "import elsewhere, runpy, sys; elsewhere.pretend(sys.argv[1]); sys.argv[1:] = ['party']"
    code += "; runpy.run_module('parties', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, system],
        env={"PYTHONPATH": f"{ROOT / 'tests'}:{':'.join(sys.path)}", "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"the servers run on Linux only, and this is {system}" in done.stderr
