"""Train one owner's RAN on the owner's images.

Sees plaintext images and the model, both the owner's secrets. Runs on the owner's device only and
sends nothing. `subspace*` presets are fitted in closed form, the others adversarially.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from privedge.arrays import Inputs
from privedge.errors import TrainingError
from privedge.identity.names import owner_name
from privedge.ran.model import Reconstructor
from privedge.ran.spec import RanSpec, Subspace
from privedge.user import own_images, private_fit, saves, subspace, threshold
from privedge.user.adversarial import Contest, device_for, fingerprint
from privedge.user.checkpoint import OWNER, OWNER_RULE, Parameters, Ran
from privedge.user.own_images import HELD_OUT_FROM, OwnFeatures
from privedge.user.private_fit import Privacy
from privedge.user.saves import Saves
from privedge.user.settings import TrainSettings

# What of a privacy promise stands in a model's file.
_DP_FACTS = ("epsilon", "delta", "norm")


@dataclass(frozen=True)
class TrainingStep:
    """Steps done, steps in all, and the mean squared error on the validation images."""

    step: int
    steps: int
    validation_error: float


def fit_ran(
    images: Inputs,
    spec: RanSpec,
    settings: TrainSettings,
    owner: str,
    *,
    progress: Callable[[TrainingStep], None] | None = None,
    saving: Saves | None = None,
) -> Ran:
    """Train the RAN of `owner`. The result is equal, bit for bit, in every run on one machine.

    images: uint8 (n, H, W) or (n, H, W, 3), at the size of `spec.image`; or vectors (n, D).
    progress: called after each check on the validation images.
    saving: where to save an unfinished training, and whether to resume it.

    Raises TrainingError, ImageError for unusable images, RangeError for a model that does not fit
    the fixed-point ring, and ConfigError or MissingExtra for an encoder.
    """
    _check_request(spec, settings, owner)
    if saving is not None and saving.resume and isinstance(spec.layers[0], Subspace):
        raise TrainingError(
            f"resume: {spec.name} is fitted in closed form, all at once; leave it out"
        )
    with _threads(settings.threads):
        own = own_images.prepare(images, spec, settings)
        if settings.threshold_quantile is not None and not own.held_out:
            raise TrainingError(
                f"threshold quantile: needs {HELD_OUT_FROM} images or more, of which some are held "
                "out; leave it out"
            )
        if isinstance(first := spec.layers[0], Subspace):
            parameters, facts = _closed_form(spec, first, own, settings)
        else:
            parameters, facts = _adversarial(own, spec, settings, progress, saving)
        errors = threshold.dissimilarities(_reconstructor(spec, parameters), own.validation)
    bound = threshold.choose(errors, settings.threshold_quantile)
    parameters["threshold"] = np.array([bound], np.float32)
    facts |= {
        "images": str(own.images),
        "held_out": str(own.held_out),
        "seed": str(settings.seed),
    }
    # No noise covers an error, and other people may read it.
    if own.held_out and settings.dp_epsilon is None:
        facts["validation_mse"] = f"{errors.mean() / own.validation[0].size:.6g}"
    return Ran(spec, owner, parameters, facts)


def _check_request(spec: RanSpec, settings: TrainSettings, owner: str) -> None:
    if not isinstance(owner, str) or not OWNER.fullmatch(owner):
        named = owner_name(owner) if isinstance(owner, str) else ""
        such = f"; {named} would do" if OWNER.fullmatch(named) else ""
        raise TrainingError(f"owner: the name must be {OWNER_RULE}{such}")
    if settings.threshold_quantile is not None and not 0 < settings.threshold_quantile <= 1:
        raise TrainingError("threshold quantile: must be above 0 and at most 1")
    closed_form = isinstance(spec.layers[0], Subspace)
    if closed_form and len(spec.layers) > 1:
        raise TrainingError(f"spec {spec.name}: layers after a subspace cannot be trained")
    _check_private(spec, settings, closed_form)
    if closed_form and settings.steps:
        raise TrainingError(f"steps: {spec.name} is fitted in closed form; leave them out")
    if closed_form and settings.device == "cuda":
        raise TrainingError(
            f"device: {spec.name} is fitted in closed form, on the processor; leave it out"
        )
    if not closed_form and min(settings.steps, settings.batch, settings.check_every) < 1:
        raise TrainingError("steps, batch and check_every: must be positive")
    if not 0 < settings.validation_share <= 0.5:
        raise TrainingError("validation_share: must be above 0 and at most 0.5")


def _check_private(spec: RanSpec, settings: TrainSettings, closed_form: bool) -> None:
    if settings.dp_epsilon is None:
        if (settings.dp_delta, settings.dp_norm) != (TrainSettings.dp_delta, None):
            raise TrainingError(
                "dp delta, dp norm: say how noise is added; give dp epsilon too, or leave them out"
            )
        return
    if not closed_form:
        raise TrainingError(
            f"dp epsilon: {spec.name} is no subspace; choose one, such as --preset subspace32-fine"
        )
    if settings.threshold_quantile is not None:
        raise TrainingError("threshold quantile: no noise covers it; leave it out with dp epsilon")


def _closed_form(
    spec: RanSpec, layer: Subspace, own: OwnFeatures, settings: TrainSettings
) -> tuple[Parameters, dict[str, str]]:
    flat, facts = own.training.reshape(len(own.training), -1), {"steps": "0"}
    if settings.dp_epsilon is None:
        basis, mean = subspace.fit(flat, layer.components)
    else:
        promised = Privacy.of(spec, settings.dp_epsilon, settings.dp_delta, settings.dp_norm)
        learned = own.images - own.held_out
        basis, mean = private_fit.fit(flat, learned, layer.components, promised)
        facts |= {f"dp_{name}": f"{getattr(promised, name):g}" for name in _DP_FACTS}
    return {"0.basis": basis, "0.mean": mean}, facts


def _adversarial(
    own: OwnFeatures,
    spec: RanSpec,
    settings: TrainSettings,
    progress: Callable[[TrainingStep], None] | None,
    saving: Saves | None,
) -> tuple[Parameters, dict[str, str]]:
    device = device_for(settings.device)
    training = torch.from_numpy(own.training).to(device)
    validation = torch.from_numpy(own.validation).to(device)
    contest = Contest(spec, settings, device)
    if settings.start == "components":
        contest.start_linear(spec, own.training)
        contest.look(validation)
    task = {"spec": spec.digest(), "images": own.digest, "settings": fingerprint(settings)}
    saves.begin(saving, contest, task)
    if saving is not None and contest.step > settings.steps:
        raise TrainingError(
            f"{saving.path}: has {contest.step} steps done already, more than {settings.steps}; "
            f"give --steps {contest.step} or more, or delete it and start over"
        )
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        while contest.step < settings.steps:
            contest.advance(training)
            if contest.step % settings.check_every == 0 or contest.step == settings.steps:
                error = contest.look(validation)
                if progress is not None:
                    progress(TrainingStep(contest.step, settings.steps, error))
            saves.save(saving, contest, task)
    parameters = {name: value.numpy() for name, value in contest.best().items()}
    return parameters, {"steps": str(contest.step), "best_step": str(contest.best_step)}


def _reconstructor(spec: RanSpec, parameters: Parameters) -> Reconstructor:
    reconstructor = Reconstructor(spec)
    values = {name: torch.from_numpy(value) for name, value in parameters.items()}
    reconstructor.load_state_dict(values)
    return reconstructor


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Set torch's number of threads, on which sums, and so a model's last bits, depend."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
