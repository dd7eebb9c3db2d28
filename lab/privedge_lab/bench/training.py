"""Measure the seconds to train one owner's RAN, on synthetic images (made.py)."""

import time
from typing import Any

import numpy as np

from privedge.progress import Progress
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.user.fitting import fit_ran
from privedge.user.settings import settings_for
from privedge_lab.bench import made, system
from privedge_lab.results.rows.bench import TrainRow

# About as many as one digit of the demo has.
IMAGES = 144


def measure(
    preset: system.Wanted,
    owners: int,
    steps: int | None,
    progress: Progress,
    files: PublicFiles = NO_FILES,
) -> TrainRow:
    """Train `owners` RANs, with `steps` in place of the preset's own if given.

    files: their encoder takes the place of the preset's feature map.

    Raises ConfigError or TrainingError.
    """
    spec = system.spec_of(preset, files)
    changes: dict[str, Any] = {"files": files} | ({} if steps is None else {"steps": steps})
    settings = settings_for(spec, **changes)
    spent = []
    for owner in range(owners):
        images = made.images(spec, IMAGES, seed=owner)
        started = time.perf_counter()
        fit_ran(images, spec, settings, f"owner-{owner:04}")
        spent.append(time.perf_counter() - started)
        progress("train", owner + 1, owners)
    return TrainRow(
        preset=system.name_of(preset),
        owners=owners,
        images=IMAGES,
        steps=settings.steps,
        seconds=float(np.median(spent)),
    )
