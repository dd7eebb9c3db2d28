"""A server that lacks a package says what to install, in one line, and does not start."""

import os
import subprocess
import sys

import pytest

RUN = """
import sys
sys.modules[sys.argv.pop(1)] = None  # as if it were not installed
from parties.__main__ import main
sys.exit(main())
"""
PARTY = "pip install 'privedge[party]'"
CRYPTEN = "pip install --no-deps crypten=="


@pytest.mark.parametrize(
    ("server", "package", "command"),
    [
        ("party", "sqlalchemy", PARTY),
        ("party", "grpc_reflection", PARTY),
        ("party", "torch", PARTY),
        ("party", "crypten", CRYPTEN),
        ("dealer", "torch", PARTY),
        ("dealer", "grpc_reflection", PARTY),
    ],
)
def test_a_server_names_what_it_lacks_and_the_command(server, package, command):
    ended = subprocess.run(
        [sys.executable, "-c", RUN, package, server, "--config", "none.toml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == os.EX_CONFIG
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(
        f"privedge {server}: this server needs more packages ({package}): {command}"
    )
