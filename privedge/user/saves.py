"""Save an unfinished training and go on with it later, to the very same result.

The file holds the owner's unfinished model and thus is as secret as a checkpoint: mode 0600, same
folder, safetensors. It goes on only with the same spec, settings and images.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors

from privedge import private_file
from privedge.errors import TrainingError
from privedge.user.adversarial import Contest

_METADATA = "privedge-training"


@dataclass(frozen=True)
class Saves:
    """Where to save, every how many steps, and whether to go on from what is there."""

    path: Path
    every: int = 500
    resume: bool = False


def begin(saves: Saves | None, contest: Contest, task: dict[str, Any]) -> None:
    """Restore `contest` if asked to. `task` describes what is trained and must be the same.

    Raises TrainingError if there is nothing to go on with, if it belongs to another task, or if a
    save would be overwritten without having been asked to resume.
    """
    if saves is None:
        return
    if not saves.resume:
        if saves.path.exists():
            raise TrainingError(
                f"{saves.path}: an unfinished training; add --resume to go on, or delete the file"
            )
        return
    try:
        with safe_open(saves.path, framework="pt") as file:
            described = json.loads((file.metadata() or {})[_METADATA])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if described["task"] != task:
            raise TrainingError(f"{saves.path}: belongs to other images, preset or settings")
        contest.restore(tensors, described["counts"])
    except FileNotFoundError:
        raise TrainingError(f"{saves.path}: there is no unfinished training to resume") from None
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise TrainingError(f"{saves.path}: is damaged; delete it and start over") from error


def save(saves: Saves | None, contest: Contest, task: dict[str, Any]) -> None:
    """Write `contest` if this is a step to save at."""
    if saves is None or contest.step % saves.every:
        return
    described = json.dumps({"task": task, "counts": contest.counts()}, sort_keys=True)
    private_file.write(saves.path, to_safetensors(contest.tensors(), {_METADATA: described}))
