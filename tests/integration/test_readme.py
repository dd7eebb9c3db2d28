"""The story of the README, from photos to answers, typed word for word in a stand-in for the clone.

Only the sample files' ports are others. Every block of `sh` and `python` is part of it.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import parties

pytestmark = pytest.mark.mpc

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
SAMPLES = Path(parties.__file__).parent / "samples"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def script() -> str:
    """One line of shell after the other. Python is what somebody types into python."""
    typed = {"sh": "{}", "python": "python - <<'PYTHON'\n{}PYTHON\n"}
    return "set -euo pipefail\n" + "".join(
        typed[kind].format(body) for kind, body in BLOCK.findall(README) if kind in typed
    )


def photos(owner: str) -> list[Image.Image]:
    """Twelve colour pictures of a bar: upright and a little tilted for ana, flat for bo."""
    rows, columns = np.mgrid[-40:40, -40:40]
    if owner == "bo":
        rows, columns = columns, rows
    distances = (
        np.abs(columns * np.cos(tilt / 40) + rows * np.sin(tilt / 40)) for tilt in range(12)
    )
    return [
        Image.fromarray(np.where(each < 10, 250, 10).astype(np.uint8)).convert("RGB")
        for each in distances
    ]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with what the story uses of the clone, and the photos that it asks for."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "parties/samples").mkdir(parents=True)
    with ExitStack() as held:
        free = {}
        for port in ("7000", "7001", "7002", "7100"):
            each = held.enter_context(socket.socket())
            each.bind(("127.0.0.1", 0))
            free[port] = str(each.getsockname()[1])
    for sample in SAMPLES.glob("*.toml"):
        text = re.sub(r"(?<=127\.0\.0\.1:)7\d+", lambda port: free[port[0]], sample.read_text())
        (tmp_path / "parties/samples" / sample.name).write_text(text)
    for owner in ("ana", "bo"):
        folder = tmp_path / "people" / owner
        folder.mkdir(parents=True)
        for number, photo in enumerate(photos(owner)):
            if (owner, number) != ("ana", 5):
                photo.save(folder / f"{number:02}.jpg")
    photos("ana")[5].save(tmp_path / "face.png")
    return tmp_path


def test_the_story_of_the_readme_runs_word_for_word_from_photos_to_answers(clone):
    with (clone / "errors").open("w") as errors:
        story = subprocess.Popen(
            ["bash", "-c", script()],
            cwd=clone, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            printed, _ = story.communicate(timeout=400)
        finally:
            with suppress(ProcessLookupError):  # servers that the story has left
                os.killpg(story.pid, signal.SIGKILL)
    assert story.returncode == 0, (clone / "errors").read_text()
    *_, asked, verified, found, same = printed.splitlines()
    assert (asked, verified) == ("face.png: ana", "face.png: yes")
    assert re.fullmatch(r"ana \d+\.\d\d s", found)
    assert same == "True"


def test_the_cohort_that_the_readme_shows_is_that_of_both_samples():
    (shown,) = (body for kind, body in BLOCK.findall(README) if kind == "toml")
    for name in ("party0.toml", "party1.toml"):
        assert (
            tomllib.loads(shown)["cohorts"]
            == tomllib.loads((SAMPLES / name).read_text())["cohorts"]
        )
