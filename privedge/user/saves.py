"""Save an unfinished training and resume it later, with exactly the same result.

The file holds the owner's unfinished model, so it is as secret as a checkpoint: mode 0600, in the
same folder, safetensors, and encrypted if the checkpoint will be. A training resumes only with the
same spec, settings and images.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as to_safetensors

from privedge import private_file, regular_file
from privedge.errors import TrainingError
from privedge.user import sealed
from privedge.user.adversarial import Contest
from privedge.user.checkpoint import metadata_of
from privedge.user.sealed import Lock

_METADATA = "privedge-training"


@dataclass(frozen=True)
class Saves:
    """Where to save, after how many steps each time, whether to resume from the file, and what
    encrypts it.
    """

    path: Path
    every: int = 500
    resume: bool = False
    lock: Lock | None = None


def begin(saves: Saves | None, contest: Contest, task: dict[str, Any]) -> None:
    """Restore `contest` from the file if `saves.resume` is set.

    task: a description of what is trained; it must equal the one in the file.

    Raises TrainingError if there is no file to resume, if it belongs to another task, or if a file
    exists and `saves.resume` is not set.
    """
    if saves is None:
        return
    if not saves.resume:
        if saves.path.exists():
            raise TrainingError(
                f"{saves.path}: is an unfinished training; add --resume to go on, or delete it"
            )
        return
    try:
        raw = sealed.opened(regular_file.read(saves.path), saves.lock, where=str(saves.path))
        tensors = from_safetensors(raw)
        described = json.loads((metadata_of(raw) or {})[_METADATA])
        if described["task"] != task:
            raise TrainingError(f"{saves.path}: belongs to other images, preset or settings")
        contest.restore(tensors, described["counts"])
    except FileNotFoundError:
        raise TrainingError(f"{saves.path}: there is no unfinished training to resume") from None
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise TrainingError(f"{saves.path}: is damaged; delete it and start over") from error


def save(saves: Saves | None, contest: Contest, task: dict[str, Any]) -> None:
    """Write `contest` to its file, once every `saves.every` steps."""
    if saves is None or contest.step % saves.every:
        return
    described = json.dumps({"task": task, "counts": contest.counts()}, sort_keys=True)
    raw = to_safetensors(contest.tensors(), {_METADATA: described})
    if saves.lock is not None:
        raw = saves.lock.seal(raw, "unfinished")
    private_file.write(saves.path, raw)
