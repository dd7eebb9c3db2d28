"""A process that trains some owners' networks in turn, and tells how each does at every point.

It can end at any moment and go on later, with exactly the result of a run that was never broken
off. An owner's training is saved when it comes to a point and about once a minute; what is told of
a point is a file of its own, written before the training goes on. The best model so far is another.

Seconds of training are of this process's own processor time, so that a busy machine does not change
what is measured, and on CUDA of the clock. Looking at models comes on top.

Sees these owners' images and those asked in plaintext. See original.py.
"""

import json
import math
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch

from privedge import child_processes, private_file
from privedge.ran import features
from privedge.ran.inputs import given
from privedge.ran.spec import RanSpec
from privedge.user import checkpoint, own_images, saves
from privedge.user.adversarial import Contest, device_for, fingerprint
from privedge.user.checkpoint import Ran
from privedge.user.saves import Saves
from privedge.user.settings import TrainSettings
from privedge.user.threshold import UNUSED
from privedge_lab.evaluation import identify_engines

_SAVE_S = 60.0


def answered(
    request: child_processes.Message, tell: child_processes.Tell
) -> child_processes.Message:
    """Train every one of `request["owners"]` up to `steps`, telling of each at each of `points`.

    Stops after `seconds` of the clock, if they are given, but trains one step at least. The answer
    has the steps done, by owner.
    """
    spec = RanSpec.from_json(request["spec"])
    settings = TrainSettings.from_dict(request["settings"])
    asked = features.extract(spec, given(request["asked"], spec.image_shape))
    given_s = request["seconds"]
    until = math.inf if given_s is None else perf_counter() + given_s
    turns = [_Turn(owner, spec, settings) for owner in request["owners"]]
    for point in range(1, request["points"] + 1):
        step = request["steps"] * point // request["points"]
        if not all(turn.reaches(step, point, until, asked, tell) for turn in turns):
            break
    return {turn.owner: turn.contest.step for turn in turns}


class _Turn:
    """One owner's training."""

    def __init__(
        self, asked: child_processes.Message, spec: RanSpec, settings: TrainSettings
    ) -> None:
        self.owner, self._spec = asked["owner"], spec
        own = own_images.prepare(given(asked["images"], spec.image_shape), spec, settings)
        device = device_for(settings.device)
        self.contest = Contest(spec, settings, device)
        self._training = torch.from_numpy(own.training).to(device)
        self._validation = torch.from_numpy(own.validation).to(device)
        self._file, self._model = Path(asked["unfinished"]), Path(asked["model"])
        self._saves = Saves(self._file, every=1, resume=self._file.exists())
        self._task = {
            "spec": spec.digest(),
            "images": own.digest,
            "settings": fingerprint(settings),
        }
        saves.begin(self._saves, self.contest, self._task)

    def reaches(
        self, step: int, point: int, until: float, asked: Any, tell: child_processes.Tell
    ) -> bool:
        """Train up to `step` and tell of it, if that was not done before; False if time is up."""
        if self.contest.step > step:
            return True
        self._train(step, until)
        # Saved before it is looked at: whoever goes on from here looks again, and finds the same.
        saves.save(self._saves, self.contest, self._task)
        if self.contest.step < step:
            return False
        loss, error = self.contest.mean_loss(), self.contest.look(self._validation)
        told = told_of(self._file, point)
        if not told.exists():
            row = self._row(asked) | {"point": point, "loss": loss, "validation_error": error}
            private_file.write(told, json.dumps(row).encode())
            tell({"file": str(told)})
        return True

    def _train(self, step: int, until: float) -> None:
        contest = self.contest
        clock = perf_counter if self._training.is_cuda else process_time
        started, wall = clock() - contest.seconds, perf_counter() - contest.wall_seconds
        saved = perf_counter()
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            while contest.step < step:
                contest.advance(self._training)
                if self._training.is_cuda:
                    torch.cuda.synchronize()
                contest.seconds, now = clock() - started, perf_counter()
                contest.wall_seconds = now - wall
                if now >= until:
                    break
                if now - saved > _SAVE_S:
                    saves.save(self._saves, contest, self._task)
                    saved = perf_counter()

    def _row(self, asked: Any) -> child_processes.Message:
        """Keep the best model so far. Return what is told of it, with its errors on `asked`:
        features (n, *spec.input_shape).
        """
        contest = self.contest
        parameters = {name: value.numpy() for name, value in contest.best().items()}
        parameters["threshold"] = np.array([UNUSED], np.float32)
        best = Ran(self._spec, self.owner, parameters, {"steps": str(contest.best_step)})
        checkpoint.save(best, self._model)
        errors = identify_engines.errors_of(best, asked)
        return {
            "owner": self.owner,
            "step": contest.step,
            "seconds": contest.seconds,
            "wall_seconds": contest.wall_seconds,
            "best_validation_error": contest.best_error,
            "errors": np.round(errors, 6).tolist(),
        }


def told_of(unfinished: Path, point: int) -> Path:
    """The file of what is told at `point` of the owner whose training is saved in `unfinished`."""
    return unfinished.with_suffix(f".{point}.json")
