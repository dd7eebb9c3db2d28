"""Owners train their models on their own pictures with `privedge train`.

Sees every owner's pictures and model: the demo plays all owners. Each training is a separate
process and runs the same command as an owner. A few run at a time if there are cores.
"""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from privedge.arrays import Pixels
from privedge.errors import TrainingError
from privedge.progress import Progress
from privedge.ran import spec_file
from privedge.ran.public_files import PublicFiles
from privedge.ran.spec import RanSpec
from privedge.user import checkpoint
from privedge.user.checkpoint import Ran

# Trainings at a time; each needs one core and about 300 MB.
_AT_MOST = 4

_SPEC = "spec.json"
# The command `privedge` of this interpreter, whether or not it is on the PATH.
_PRIVEDGE = (sys.executable, "-c", "from privedge.cli.main import main; main()")


@dataclass(frozen=True)
class _Training:
    """One running `privedge train`."""

    owner: str
    file: Path
    process: subprocess.Popen[str]


@dataclass(frozen=True)
class Means:
    """With what owners train: the architecture, its public files, where files go, and the seed."""

    spec: RanSpec
    public: PublicFiles
    folder: Path
    seed: int


def train(images: Mapping[str, Sequence[Pixels]], means: Means, progress: Progress) -> list[Ran]:
    """Train one RAN for each owner, by name, in the order of `images`.

    images: uint8 (H, W) or (H, W, 3) each.

    Writes its files to `means.folder`. Raises TrainingError with the command's error. Leaves no
    process running.
    """
    spec_file.write(means.spec, means.folder / _SPEC)
    running: deque[_Training] = deque()
    trained: list[Ran] = []
    at_once = min(_AT_MOST, len(os.sched_getaffinity(0)))
    progress("train", 0, len(images))
    try:
        for owner, pictures in images.items():
            if len(running) == at_once:
                trained.append(_finished(running))
                progress("train", len(trained), len(images))
            running.append(_started(owner, pictures, means))
        while running:
            trained.append(_finished(running))
            progress("train", len(trained), len(images))
    finally:
        for each in running:
            each.process.kill()
            each.process.communicate()
    return trained


def _started(owner: str, pictures: Sequence[Pixels], means: Means) -> _Training:
    given, file = means.folder / owner, means.folder / f"{owner}.ran"
    given.mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(given / f"{number:06d}.png")
    spec, public = means.folder / _SPEC, means.public
    options = ["--owner", owner, "--out", file, "--spec", spec, "--seed", means.seed]
    for option, path in (("--encoder", public.encoder), ("--detector", public.detector)):
        options += [] if path is None else [option, path]
    process = subprocess.Popen(
        (*_PRIVEDGE, "train", str(given), *map(str, options)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    return _Training(owner, file, process)


def _finished(running: deque[_Training]) -> Ran:
    """Wait for the first of `running` and remove it."""
    _, said = running[0].process.communicate()
    done = running.popleft()
    if done.process.returncode:
        reason = said.strip().splitlines()[-1:] or [f"exit {done.process.returncode}"]
        raise TrainingError(f"{done.owner}: {reason[0].removeprefix('privedge: ')}")
    return checkpoint.load(done.file)
