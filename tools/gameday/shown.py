"""The tests that show a case of the table: those whose names begin with its number."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
_NUMBERS = re.compile(r"test_((?:[cw]\d+_)+)")
# These do the drills themselves.
_DRILLS = "tests/integration/test_gameday.py"


def tests() -> Mapping[str, list[str]]:
    """Return the pytest ids of every case's tests: `C-27` -> [`tests/...py::test_c27_...`].

    Tests that are marked slow are left to `make test-slow`.
    """
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef) or _is_slow(node):
                continue
            numbered = _NUMBERS.match(node.name)
            for number in re.findall(r"c(\d+)_", numbered[1]) if numbered else ():
                named = f"{path.relative_to(ROOT)}::{node.name}"
                found.setdefault(f"C-{number}", []).append(named)
    return found


def _is_slow(test: ast.FunctionDef) -> bool:
    return any(ast.unparse(mark) == "pytest.mark.slow" for mark in test.decorator_list)


def run(ids: Iterable[str]) -> Mapping[str, bool]:
    """Run tests, without those that do drills. Returns which passed; a skipped one did not."""
    chosen = sorted({each for each in ids if not each.startswith(_DRILLS)})
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", f"--junitxml={report}", *chosen]
        subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False)
        if not report.exists():
            return dict.fromkeys(chosen, False)
        return _passed(report, chosen)


def _passed(report: Path, chosen: list[str]) -> Mapping[str, bool]:
    ends: dict[str, list[bool]] = {each: [] for each in chosen}
    # pytest has just written this file.
    for test in ElementTree.parse(report).iter("testcase"):  # noqa: S314
        name = test.attrib["name"].partition("[")[0]
        path = test.attrib["classname"].replace(".", "/")
        ends.setdefault(f"{path}.py::{name}", []).append(len(test) == 0)
    return {each: bool(ends[each]) and all(ends[each]) for each in chosen}
