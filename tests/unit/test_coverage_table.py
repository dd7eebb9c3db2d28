"""What `make cover` adds to pytest: a table by package before the summary, and floors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.coverage_table import Coverage, by_package, complaints, measured, package_of, table

ROOT = Path(__file__).resolve().parents[2]
FLOORS = {"privedge.ran": 90, "parties": 50}


def package(name: str, covered: int) -> Coverage:
    return Coverage(name, 100, covered)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("privedge/errors.py", "privedge"),
        ("privedge/ran/fused/tree.py", "privedge.ran"),
        ("parties/worker/pool.py", "parties.worker"),
        ("lab/privedge_lab/attacks/inversion/linear.py", "privedge_lab.attacks"),
    ],
)
def test_a_file_counts_for_the_package_two_levels_deep(path, expected):
    assert package_of(path) == expected


def test_lines_are_summed_over_the_files_of_a_package():
    def file(lines: int, covered: int) -> dict[str, object]:
        return {"summary": {"num_statements": lines, "covered_lines": covered}}

    files = {"privedge/ran/a.py": file(10, 4), "privedge/ran/fused/b.py": file(6, 6)}
    assert by_package({"files": files}) == [Coverage("privedge.ran", 16, 10)]


def test_floors_that_hold_have_nothing_to_complain_about():
    lab = package("privedge_lab.bench", 0)
    assert complaints([package("parties", 50), package("privedge.ran", 95), lab], FLOORS) == []


@pytest.mark.parametrize(
    ("packages", "complaint"),
    [
        ([package("parties", 49)], "parties: 49.0 % of lines are covered, its floor is 50 %"),
        ([package("parties", 50), package("parties.new", 99)], "parties.new has no coverage floor"),
        ([], "a floor for parties, which was not measured"),
    ],
)
def test_what_keeps_a_floor_from_holding_is_said(packages, complaint):
    lines = complaints([*packages, package("privedge.ran", 95)], FLOORS)
    assert len(lines) == 1
    assert complaint in lines[0]


def test_new_floors_are_two_points_below_what_was_measured_and_leave_out_the_laboratory():
    packages = [Coverage("privedge.ran", 1000, 957), package("privedge_lab.bench", 100)]
    assert measured(packages) == '"privedge.ran" = 93'


def test_the_table_has_a_line_for_each_package_and_one_for_all():
    packages = [package("privedge.ran", 90), package("privedge_lab.bench", 30)]
    rows = [line.split() for line in table(packages, FLOORS).splitlines()]
    assert rows[1:] == [
        ["privedge.ran", "100", "10", "90.0%", "90%"],
        ["privedge_lab.bench", "100", "70", "30.0%"],
        ["total", "200", "80", "60.0%"],
    ]


# A package whose lines run in the test's process, in one it starts, and not at all.
CODE = {
    "privedge/__init__.py": "",
    "privedge/ran/__init__.py": "",
    "privedge/ran/here.py": "x = 1\n",
    "privedge/ran/started.py": "x = 1\ny = 2\n",
    "privedge/ran/never.py": "x = 1\n",
    "test_it.py": (
        "import subprocess, sys\n"
        "import privedge.ran.here\n"
        "def test_it():\n"
        "    subprocess.run([sys.executable, '-m', 'privedge.ran.started'], check=True)\n"
    ),
    "pyproject.toml": """
[tool.pytest.ini_options]
addopts = "-q -p no:cacheprovider"
[tool.coverage.run]
source_pkgs = ["privedge"]
patch = ["subprocess"]
[tool.coverage.json]
output = "coverage.json"
[tool.privedge.coverage-floors]
"privedge" = 100
"privedge.ran" = FLOOR
""",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in CODE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # When this test is itself measured, the project's own measuring must not join in.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env={**clean, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def with_floor(project: Path, floor: int) -> None:
    (project / "pyproject.toml").write_text(CODE["pyproject.toml"].replace("FLOOR", str(floor)))


def test_a_run_prints_the_table_and_ends_with_the_summary_of_pytest(project):
    with_floor(project, 75)
    ran = run(project, "-m", "pytest", "--cov", "--cov-report=json", "-p", "tools.coverage_table")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = ran.stdout.splitlines()
    # Three of four lines: those of the started process are among them.
    assert ["privedge.ran", "4", "1", "75.0%", "75%"] in [line.split() for line in lines]
    assert lines[-1].startswith("1 passed")
    held = run(project, str(ROOT / "tools/coverage_table.py"))
    assert (held.returncode, held.stdout, held.stderr) == (0, "", "")


def test_a_package_below_its_floor_ends_in_one_line_and_exit_1(project):
    with_floor(project, 76)
    summary = {"num_statements": 4, "covered_lines": 3}
    files = {"privedge/ran/here.py": {"summary": summary}, "privedge/a.py": {"summary": summary}}
    files["privedge/a.py"] = {"summary": {"num_statements": 1, "covered_lines": 1}}
    (project / "coverage.json").write_text(json.dumps({"files": files}))
    below = run(project, str(ROOT / "tools/coverage_table.py"))
    assert below.returncode == 1
    assert below.stderr.startswith("privedge.ran: 75.0 % of lines are covered, its floor is 76 %")
    assert len(below.stderr.splitlines()) == 1


def test_floors_cannot_be_checked_before_anything_was_measured(project):
    with_floor(project, 75)
    early = run(project, str(ROOT / "tools/coverage_table.py"))
    assert (early.returncode, early.stderr) == (1, "nothing was measured yet: run make cover\n")
