"""What a user has who installed privedge alone: the product's commands, and a word on the others.

Each test starts a fresh interpreter that finds every installed package but the laboratory.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from privedge.cli.main import LABORATORY, PRODUCT

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def without_laboratory(tmp_path_factory):
    """Runs Python code with arguments, in an environment without the laboratory."""
    folder = tmp_path_factory.mktemp("packages")
    installed = [Path(place) for place in sys.path if Path(place).name == "site-packages"]
    for place in installed:
        for entry in place.iterdir():
            there = folder / entry.name
            if not entry.name.startswith("privedge_lab") and not there.exists():
                there.symlink_to(entry)

    def run(code, *arguments):
        # -S: no files of installed packages that name further folders.
        return subprocess.run(
            [sys.executable, "-S", "-c", code, *arguments],
            env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


PRIVEDGE = "from privedge.cli.main import main; main()"
SERVERS = "import sys; from parties.__main__ import main; sys.exit(main())"


def test_the_laboratory_is_really_out_of_reach(without_laboratory):
    assert "No module named 'privedge_lab'" in without_laboratory("import privedge_lab").stderr


@pytest.mark.parametrize("name", LABORATORY)
def test_a_command_of_the_laboratory_says_where_it_comes_from(without_laboratory, name):
    ended = without_laboratory(PRIVEDGE, name)
    assert ended.returncode == 1
    assert ended.stderr == (
        f"privedge: {name} is part of the laboratory: pip install privedge-lab\n"
    )


def test_help_lists_the_products_commands_only(without_laboratory):
    ended = without_laboratory(PRIVEDGE, "--help")
    assert ended.returncode == 0
    listed = ended.stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed if line[:3].strip()] == list(PRODUCT)


def test_a_name_that_is_no_command_at_all_is_a_mistake_of_usage(without_laboratory):
    ended = without_laboratory(PRIVEDGE, "atack")
    assert ended.returncode == 2
    assert "No such command 'atack'" in ended.stderr


def test_the_split_server_says_where_it_comes_from(without_laboratory):
    ended = without_laboratory(SERVERS, "split", "--config", "split.toml")
    assert ended.returncode == os.EX_CONFIG
    assert ended.stderr == (
        "privedge split: the split server is part of the laboratory: pip install privedge-lab\n"
    )
