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
        ("parties", "pip install 'privedge[train,party]'"),
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


def test_training_without_torch_names_the_extra_in_one_line(tmp_path):
    command = ["train", str(tmp_path), "--owner", "ana", "--out", str(tmp_path / "ana.ran")]
    ran = subprocess.run(
        [sys.executable, "-c", RUN, "torch", *command], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert "pip install 'privedge[train]'" in ran.stderr


BROKEN = {
    "an error of its own": 'raise ImportError("libfoo.so.3: cannot open shared object file")',
    "a package it needs": "import joblib_that_nobody_has",
    "a module of its own": "from sklearn import _a_compiled_part",
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_package_that_is_installed_but_broken_is_not_called_missing(tmp_path, reason):
    (tmp_path / "sklearn").mkdir()
    (tmp_path / "sklearn/__init__.py").write_text(BROKEN[reason] + "\n")
    run = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
    run += "from privedge.cli.main import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", run, "attack", "membership", "--data", "none.npz"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "pip install" not in ran.stderr
    assert BROKEN[reason].split()[-1].strip('")') in ran.stderr
