"""Every import contract of pyproject.toml is kept, and finds an import that breaks it."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("privedge", "parties", "lab/privedge_lab")
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
NAMES = [contract["name"] for contract in LINTER["contracts"]]
RUN = "from importlinter.cli import lint_imports_command as run; run()"


class Planted(NamedTuple):
    """A module, and what it must not import."""

    importer: str
    imported: str


# By the name of the contract.
PLANTED = {
    "The laboratory stands on the servers, and both on the library": Planted(
        "parties.memory", "privedge_lab.results"
    ),
    "Layers of privedge": Planted("privedge.sharing.ring", "privedge.rpc.chunks"),
    "Layers of the laboratory": Planted("privedge_lab.results", "privedge_lab.attacks"),
    "Layers of parties": Planted("parties.config.party", "parties.memory"),
    "Servers never reach plaintext data, training or recombination": Planted(
        "parties.worker.weights", "privedge.sharing.combine"
    ),
    "The split server reads a tail, and nothing of a device": Planted(
        "privedge_lab.baseline.serving.servicer", "privedge_lab.baseline.head_file"
    ),
    "CrypTen lives behind one package": Planted("parties.mpc.network", "crypten"),
    "SPU lives in one module, which runs in an environment of its own": Planted(
        "privedge_lab.bench.peers", "spu"
    ),
    "The compiler lives behind one package": Planted("parties.mpc.products", "numba"),
    "The curve of base transfers lives in one module": Planted(
        "parties.mpc.twoparty.extension", "nacl"
    ),
    "A party's front end never loads torch or CrypTen": Planted("parties.party.terms", "torch"),
    "Generated messages stay at the edges": Planted(
        "parties.worker.task", "parties.wire.worker_pb2"
    ),
    "gRPC stays at the edge": Planted("privedge.user.upload", "grpc"),
}


def file_of(tree: Path, module: str) -> Path:
    path = tree / ("lab" if module.startswith("privedge_lab") else "") / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def verdict_of(tree: Path) -> str:
    """What lint-imports says of the packages in a tree."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, "--no-cache"],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tree), str(tree / "lab")])},
        capture_output=True,
        text=True,
    )
    assert "Contracts:" in done.stdout, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree, left_out = tmp_path_factory.mktemp("tree"), shutil.ignore_patterns("__pycache__", "build")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tree / package, ignore=left_out)
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree


@pytest.fixture(scope="module")
def clean(copy: Path) -> str:
    return verdict_of(copy)


@pytest.fixture(scope="module")
def broken(copy: Path, clean: str) -> str:
    """The verdict on the same copy with every violation planted in it."""
    for planted in PLANTED.values():
        path = file_of(copy, planted.importer)
        path.write_text(f"{path.read_text()}\n\nimport {planted.imported}\n")
    return verdict_of(copy)


def test_a_violation_is_known_for_every_contract():
    assert sorted(PLANTED) == sorted(NAMES)


@pytest.mark.parametrize("name", PLANTED)
def test_a_contract_is_kept_in_the_tree_as_it_is(clean, name):
    assert f"{name} KEPT" in clean


@pytest.mark.parametrize("name", PLANTED)
def test_a_contract_finds_the_import_that_breaks_it(broken, name):
    assert f"{name} BROKEN" in broken
    # What breaks a contract is listed under its name, which is underlined there.
    _, _, listed = broken.partition(f"\n{name}\n{'-' * len(name)}\n")
    found = re.split(r"\n-{3,}\n", listed)[0]
    importer, imported = PLANTED[name]
    assert re.search(rf"{re.escape(importer)}\s+->\s+{re.escape(imported)}\b", found), found
