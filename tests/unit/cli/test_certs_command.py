"""`privedge` as a process: exit codes, one line on failure, and what `certs` writes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import privedge
from privedge.cli.main import COMMANDS
from privedge.config import TlsFiles
from privedge.identity.checking import check_files
from privedge.identity.roles import Identity, Role

RUN = [sys.executable, "-c", "from privedge.cli.main import main; main()"]


def run(*arguments, code=0):
    done = subprocess.run([*RUN, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def folder(tmp_path):
    run("certs", "init", str(tmp_path / "certs"))
    return tmp_path / "certs"


def test_an_issued_certificate_is_where_the_command_says_and_passes_the_check(folder):
    out = run("certs", "issue", str(folder), "client", "ward", "--days", "3", "--json").stdout
    made = json.loads(out)
    files = TlsFiles(**{kind: made[kind] for kind in ("ca", "certificate", "key")})
    assert check_files(files).identity == Identity(Role.CLIENT, "ward")
    assert (made["uri"], made["days"]) == ("spiffe://privedge/client/ward", 3)


def test_w48_files_of_two_names_are_never_one_on_a_system_that_ignores_case(folder):
    run("certs", "issue", str(folder), "owner", "ana")
    for command in ("issue", "request"):
        done = run("certs", command, str(folder), "owner", "Ana", code=1)
        assert "choose a name that differs in more than upper and lower case" in done.stderr
    run("certs", "issue", str(folder), "client", "Ana")


def test_a_server_needs_no_name(folder):
    assert "spiffe://privedge/party0/party0" in run("certs", "issue", str(folder), "party0").stdout
    assert (folder / "party0.key").exists()


def test_an_authority_says_what_it_made_as_json_too(tmp_path):
    made = json.loads(run("certs", "init", str(tmp_path), "--json").stdout)
    assert Path(made["certificate"]).exists() and Path(made["key"]).exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["init", "{}"], "already exists and is not overwritten"),
        (["issue", "{}/absent", "party0"], "create one with `privedge certs init`"),
        (["issue", "{}", "owner", "a/b"], "a name is 1 to 64"),
        (["issue", "{}", "party1", "other"], "there is only one"),
        (["issue", "{}", "owner", "Unknown"], "which is the answer for strangers"),
    ],
)
def test_what_a_user_can_put_right_is_one_line_and_exit_1(folder, arguments, line):
    done = run("certs", *[part.format(folder) for part in arguments], code=1)
    assert done.stdout == ""
    assert done.stderr.startswith("privedge: ") and line in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["certs", "issue", "x", "king", "a"],
        ["certs", "issue", "x", "owner"],
        ["certs", "init", "x", "--days", "0"],
    ],
)
def test_wrong_usage_exits_with_2_and_writes_nothing(tmp_path, arguments):
    done = subprocess.run([*RUN, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Usage: privedge" in done.stderr + done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [[], ["certs"], ["certs", "init"], ["certs", "issue"]])
def test_help_is_there_for_every_command(command):
    text = run(*command, "--help").stdout
    assert text.startswith("Usage: privedge")
    if len(command) == 2:
        assert f"privedge {' '.join(command)} certs" in text


def test_the_version_is_the_packages():
    assert run("--version").stdout == f"privedge {privedge.__version__}\n"


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom privedge.cli.main import main\n"
        "try:\n main()\nexcept SystemExit:\n print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "privedge.cli.certs" in loaded
    assert not loaded & {"torch", "grpc", "numpy", "crypten", "sklearn", "cryptography", "PIL"}


def test_ctrl_c_ends_in_one_line_and_exit_130():
    code = (
        "import os, signal, sys\n"
        "from privedge.cli import certs, main\n"
        "def stuck(folder, days=1, as_json=False):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    signal.pause()\n"
        "stuck.__annotations__ = certs._init.__annotations__\n"
        "certs._init = stuck\n"
        "main.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "certs", "init", "x"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "privedge: interrupted\n")


def test_help_lists_the_commands_in_the_order_of_a_models_life():
    listed = re.findall(r"^  ([a-z]+)  ", run("--help").stdout.partition("Commands:")[2], re.M)
    assert listed == [name for name in COMMANDS if name in listed]
    assert "certs" in listed
