"""The examples in docstrings run as they stand, on three servers."""

import inspect
import re
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx.helper
import pytest
from PIL import Image

import privedge
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from tests import onnx_files

pytestmark = pytest.mark.mpc

COHORTS = ("faces", "people")
ANA, CARLA = Identity(Role.OWNER, "ana"), Identity(Role.CLIENT, "carla")
EXAMPLE = re.compile(r"^Example:\n((?:    .*\n|\n)+)", re.MULTILINE)


def pictures(of: str) -> np.ndarray:
    """Twelve pictures of a bar: upright and a little tilted for ana, flat for bo."""
    rows, columns = np.mgrid[-16:16, -16:16]
    if of == "bo":
        rows, columns = columns, rows
    distances = (
        np.abs(columns * np.cos(tilt / 40) + rows * np.sin(tilt / 40)) for tilt in range(12)
    )
    return np.stack([np.where(distance < 4, 255, 0).astype(np.uint8) for distance in distances])


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The cohorts of the docstrings; bo is an owner in both already."""
    cohorts = [CohortSetting(name, "subspace32") for name in COHORTS]
    settings = {"pool": {"bundles": 0}}
    with Deployment(tmp_path_factory.mktemp("deployment"), cohorts, settings) as running:
        bo = running.write_client_config(Identity(Role.OWNER, "bo"))
        ran = privedge.train(pictures("bo"), owner="bo", preset="subspace32")
        for cohort in COHORTS:
            privedge.Owner.from_file(bo).upload(ran, cohort)
        yield running


@pytest.fixture
def folder(deployment, tmp_path, monkeypatch) -> Path:
    """Where the examples are run, with the files that they name; ana is in the cohort."""
    for name, who in (("privedge", CARLA), ("client", CARLA), ("owner-ana", ANA)):
        shutil.copy(deployment.write_client_config(who), tmp_path / f"{name}.toml")
    (tmp_path / "pictures").mkdir()
    mine = pictures("ana")
    for number, pixels in enumerate(mine):
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{number:02}.png")
    Image.fromarray(mine[5]).save(tmp_path / "face.png")
    ran = privedge.train(mine, owner="ana", preset="subspace32")
    ran.save(tmp_path / "ana.ran")
    privedge.Owner.from_file(tmp_path / "owner-ana.toml").upload(ran, "faces")
    onnx_files.saved(
        tmp_path / "net.onnx",
        [onnx.helper.make_node("Gemm", ["x", "w"], ["y"])],
        [onnx_files.tensor("w", [[1, 2], [3, 4], [5, 6]])],
        shape=("n", 3),
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


WITH_EXAMPLES = (
    "Client",
    "ClientConfig",
    "Model",
    "ModelSpec",
    "Owner",
    "Ran",
    "RanSpec",
    "check_quality",
    "preset",
    "train",
)
PRINTED = {
    "Client": [r"\('faces', 'people'\)", r"ana \d+\.\d\d s"],
    "Owner": [r"\['[0-9a-f]{32}'\]"],
}


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_example_in_a_docstring_runs(folder, capsys, name):
    example = EXAMPLE.search(inspect.getdoc(getattr(privedge, name)) + "\n")
    assert example is not None
    exec(textwrap.dedent(example[1]), {each: getattr(privedge, each) for each in privedge.__all__})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(PRINTED.get(name, []))
    for line, expected in zip(lines, PRINTED.get(name, []), strict=True):
        assert re.fullmatch(expected, line)


def test_no_other_example_goes_unchecked():
    values = {name: getattr(privedge, name) for name in privedge.__all__}
    documented = {name for name, value in values.items() if "Example:" in (value.__doc__ or "")}
    assert documented == set(WITH_EXAMPLES)
