"""A command whose standard output cannot be written says so in one line and fails."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PRIVEDGE = [sys.executable, "-c", "from privedge.cli.main import main; main()"]


def into_the_full(words: list[str], **changes: str) -> subprocess.CompletedProcess[str]:
    """`privedge WORDS > /dev/full`."""
    with Path("/dev/full").open("w") as full:
        return subprocess.run(
            [*PRIVEDGE, *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=os.environ | changes,
        )


@pytest.mark.parametrize(
    "words",
    [("--version",), ("--help",), ("certs", "init", "DIR"), ("certs", "init", "DIR", "--json")],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_output_is_one_line_and_exit_1(tmp_path, words, unbuffered):
    words = [str(tmp_path / "certs") if word == "DIR" else word for word in words]
    done = into_the_full(words, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    assert done.stderr == (
        "privedge: the output is lost: cannot be written (No space left on device)\n"
    )


def test_a_command_that_fails_anyway_says_why(tmp_path):
    done = into_the_full(["certs", "issue", str(tmp_path / "none"), "party0"])
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "none" in done.stderr and "output" not in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_early_is_no_error_to_speak_of(unbuffered):
    reading, writing = os.pipe()
    os.close(reading)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    command = [*PRIVEDGE, "--help"]
    try:
        done = subprocess.run(
            command, stdout=writing, stderr=subprocess.PIPE, check=False, env=environment
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(
    "words",
    [
        ["query", "a.png", "--cohort", "digits"],
        ["verify", "a.png", "--owner", "ana", "--cohort", "digits", "--json"],
        ["models", "list"],
        ["certs", "check", "ana.crt"],
        ["doctor"],
        ["--version"],
    ],
    ids=lambda words: words[0],
)
def test_w58_nothing_is_asked_if_the_answer_would_be_lost(words):
    command = shlex.join([*PRIVEDGE, *words])
    done = subprocess.run(["sh", "-c", f"{command} >&-"], capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr == b"privedge: the answer would be lost: standard output is closed\n"


def test_a_command_without_any_output_at_all_works(tmp_path):
    command = shlex.join([*PRIVEDGE, "certs", "init", str(tmp_path / "certs")])
    done = subprocess.run(["sh", "-c", f"{command} >&-"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "certs" / "ca.key").exists()
