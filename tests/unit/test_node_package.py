"""clients/node as a package: what it is made of, what is published, what its lock names."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import privedge

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "clients" / "node"
PACKAGE = json.loads((NODE / "package.json").read_text())
LOCK = (NODE / "package-lock.json").read_text()
SOURCES = sorted(path for path in (NODE / "src").glob("*.ts"))

needs_node = pytest.mark.skipif(
    shutil.which("npm") is None or not (NODE / "dist").exists(),
    reason="node is missing, or `make node` was not run",
)


def npm(*arguments: str, **environment: str) -> str:
    return subprocess.run(
        ["npm", *arguments],
        cwd=NODE,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    ).stdout


def test_the_package_has_the_version_and_the_licence_of_the_others():
    assert PACKAGE["version"] == privedge.__version__
    assert PACKAGE["license"] == "Apache-2.0"
    assert (NODE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_lock_names_no_host_and_has_a_digest_of_every_package():
    assert "://" not in LOCK
    packages = json.loads(LOCK)["packages"]
    assert packages.pop("")["version"] == PACKAGE["version"]
    assert packages
    assert [name for name, facts in packages.items() if "integrity" not in facts] == []


def test_the_lock_fits_what_the_package_asks_for():
    own = json.loads(LOCK)["packages"][""]
    for group in ("dependencies", "devDependencies", "peerDependencies", "engines"):
        assert own[group] == PACKAGE[group]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_a_module_says_what_it_is_and_draws_only_from_the_operating_system(path):
    text = path.read_text()
    assert text.startswith("/**")
    assert len(text.splitlines()) <= 300
    assert not re.search(r"Math\.random|pseudoRandomBytes|console\.", text)


@needs_node
def test_what_is_published_is_what_was_built_and_nothing_else():
    # Without its scripts, which would build what other tests are reading.
    (packed,) = json.loads(npm("pack", "--dry-run", "--ignore-scripts", "--json", "--silent"))
    names = {file["path"] for file in packed["files"]}
    modules = {f"dist/{path.stem}" for path in SOURCES}
    modules |= {f"dist/generated/{path.stem}" for path in (NODE / "src/generated").glob("*.ts")}
    built = {f"{module}{ending}" for module in modules for ending in (".js", ".d.ts")}
    assert names == built | {"package.json", "README.md", "LICENSE"}
    assert PACKAGE["exports"]["."]["default"].removeprefix("./") in names
    assert PACKAGE["exports"]["."]["types"].removeprefix("./") in names


@needs_node
def test_the_generated_messages_are_in_step_with_protos(tmp_path):
    npm("run", "generate", PYTHON=sys.executable, OUT=str(tmp_path))
    fresh = (tmp_path / "party.ts").read_text()
    assert fresh == (NODE / "src/generated/party.ts").read_text(), "run make proto"
