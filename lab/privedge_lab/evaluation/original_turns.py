"""A process that trains some owners' networks in turn, and tells how each does at every point.

Seconds of training are of this process's own processor time, so that a busy machine does not change
what is measured, and on CUDA of the clock. Looking at models comes on top.

Sees these owners' images and those asked in plaintext. See original.py.
"""

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch

from privedge import child_processes
from privedge.ran import features
from privedge.ran.inputs import given
from privedge.ran.spec import RanSpec
from privedge.user import own_images, saves
from privedge.user.adversarial import Contest, device_for, fingerprint
from privedge.user.checkpoint import Ran
from privedge.user.saves import Saves
from privedge.user.settings import TrainSettings
from privedge_lab.evaluation import identify_engines


def answered(
    request: child_processes.Message, tell: child_processes.Tell
) -> child_processes.Message:
    """Train every one of `request["owners"]` for `seconds`, telling a row at each of `points`."""
    spec = RanSpec.from_json(request["spec"])
    settings = TrainSettings.from_dict(request["settings"])
    asked = features.extract(spec, given(request["asked"], spec.image_shape))
    turns = [_Turn(owner, spec, settings) for owner in request["owners"]]
    points, seconds = request["points"], request["seconds"]
    for point in range(_reached(turns, seconds, points), points + 1):
        for turn in turns:
            turn.go_on(seconds * point / points)
            tell(turn.row(asked) | {"point": point})
    return {}


def _reached(turns: "Sequence[_Turn]", seconds: float, points: int) -> int:
    """The first point that not everybody has been at and told, or else the last."""
    least = min(turn.contest.seconds for turn in turns)
    return max(1, min(points, int(least / seconds * points + 1e-9)))


class _Turn:
    """One owner's training."""

    def __init__(
        self, asked: child_processes.Message, spec: RanSpec, settings: TrainSettings
    ) -> None:
        self._owner, self._spec = asked["owner"], spec
        own = own_images.prepare(given(asked["images"], spec.image_shape), spec, settings)
        device = device_for(settings.device)
        self.contest = Contest(spec, settings, device)
        self._training = torch.from_numpy(own.training).to(device)
        self._validation = torch.from_numpy(own.validation).to(device)
        self._loss: float | None = None
        self._error: float | None = None
        path = Path(asked["unfinished"])
        self._saves = Saves(path, every=1, resume=path.exists())
        self._task = {
            "spec": spec.digest(),
            "images": own.digest,
            "settings": fingerprint(settings),
        }
        saves.begin(self._saves, self.contest, self._task)

    def go_on(self, seconds: float) -> None:
        """Train until it has been trained for so many seconds in all, at least one step; save."""
        contest = self.contest
        if contest.seconds >= seconds:
            return
        clock = perf_counter if self._training.is_cuda else process_time
        started, wall = clock() - contest.seconds, perf_counter() - contest.wall_seconds
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            while contest.seconds < seconds:
                contest.advance(self._training)
                if self._training.is_cuda:
                    torch.cuda.synchronize()
                contest.seconds = clock() - started
        contest.wall_seconds = perf_counter() - wall
        self._loss, self._error = contest.mean_loss(), contest.look(self._validation)
        saves.save(self._saves, contest, self._task)

    def row(self, asked: Any) -> child_processes.Message:
        """What is told of it, with its errors on `asked`: features (n, *spec.input_shape)."""
        contest = self.contest
        parameters = {name: value.numpy() for name, value in contest.best().items()}
        errors = identify_engines.errors_of(Ran(self._spec, self._owner, parameters), asked)
        if self._error is None:
            self._error = contest.look(self._validation)
        return {
            "owner": self._owner,
            "step": contest.step,
            "seconds": contest.seconds,
            "wall_seconds": contest.wall_seconds,
            "loss": self._loss,
            "validation_error": self._error,
            "best_validation_error": contest.best_error,
            "errors": np.round(errors, 6).tolist(),
        }
