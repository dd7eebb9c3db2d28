"""A package of the laboratory that is not there is named before any work is done."""

import subprocess
import sys

import pytest

RUN = """
import sys
sys.modules[sys.argv.pop(1)] = None  # as if it were not installed
from privedge.cli.main import main
main()
"""
LABORATORY = "pip install 'privedge[research]'"


@pytest.mark.parametrize(
    ("package", "cure", "command"),
    [
        ("sklearn", LABORATORY, ["evaluate", "identify", "--data", "none.npz", "--out", "rows"]),
        ("psutil", LABORATORY, ["evaluate", "scale", "--data", "none.npz", "--out", "rows"]),
        ("matplotlib", LABORATORY, ["split", "sweep", "none.npz", "--cuts", "conv1"]),
        ("crypten", "pip install --no-deps crypten==", ["attack", "party", "--data", "none.npz"]),
        ("jinja2", LABORATORY, ["report", "none", "--out", "page.html"]),
        ("sklearn", LABORATORY, ["demo", "--out", "page"]),
    ],
)
def test_a_missing_package_is_named_and_nothing_is_written(tmp_path, package, cure, command):
    ended = subprocess.run(
        [sys.executable, "-c", RUN, package, *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert f"needs more packages ({package}): {cure}" in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "works"), [("certs", True), ("attack", False)])
def test_a_broken_laboratory_stops_its_own_commands_only(command, works):
    ended = subprocess.run(
        [sys.executable, "-c", RUN, "privedge_lab", command, "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode == 0) == works
    assert ("privedge_lab" in ended.stderr) != works
