"""A command whose packages are not installed says what to install, in one line."""

import subprocess
import sys

import pytest

RUN = """
import sys
sys.modules[sys.argv.pop(1)] = None  # as if it were not installed
from privedge.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("package", "command"),
    [
        ("torch", "pip install 'privedge[train,party]'"),
        ("sqlalchemy", "pip install 'privedge[train,party]'"),
        ("crypten", "pip install --no-deps crypten=="),
    ],
)
def test_what_up_lacks_is_named_with_the_command_before_anything_is_made(
    tmp_path, package, command
):
    (tmp_path / "people" / "ana").mkdir(parents=True)
    ran = subprocess.run(
        [sys.executable, "-c", RUN, package, "up", "people"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1 and ran.stderr.count("\n") == 1
    assert f"({package}): {command}" in ran.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["people"]


@pytest.mark.parametrize("package", ["sklearn", "torchmetrics"])
def test_a_missing_research_package_is_named_by_its_extra(package):
    command = [sys.executable, "-c", RUN, package, "attack", "membership", "--data", "none.npz"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert "pip install 'privedge[research]'" in ran.stderr
