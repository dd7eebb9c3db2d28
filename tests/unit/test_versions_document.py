"""docs/reference/versions.md lists every version there is, with its value."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs/reference/versions.md").read_text()
ROWS = re.findall(r"^\| [\w -]+ \| `([\w./]+)\.py` `(\w+)` \| (\d+) \|", DOCUMENT, re.MULTILINE)
# What a version is called where it is defined: `FORMAT = 1`.
DEFINED = re.compile(r"^(\w*(?:FORMAT|VERSION|WIRE|MPC|PROTOCOL))(?:: \w+)? = (\d+)$", re.MULTILINE)
FOLDERS = ("privedge", "parties", "lab/privedge_lab")


def test_the_table_has_exactly_the_versions_of_the_code():
    defined = {
        (str(path.relative_to(ROOT).with_suffix("")), name, value)
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        # `pip install ./parties` leaves a build folder in the package.
        if "build" not in path.relative_to(ROOT).parts
        for name, value in DEFINED.findall(path.read_text())
        if not name.startswith("_")
    }
    assert len(ROWS) == len(set(ROWS)) == 11
    assert set(ROWS) == defined


@pytest.mark.parametrize(("module", "name", "value"), ROWS)
def test_a_version_has_the_value_in_the_table(module, name, value):
    found = importlib.import_module(module.removeprefix("lab/").replace("/", "."))
    assert getattr(found, name) == int(value)


@pytest.mark.parametrize("line", ["FORMAT = 2", "SCHEMA_VERSION: int = 12"])
def test_a_version_would_be_found(line):
    assert DEFINED.search(f"import os\n{line}\n")
