"""What experiments on identification share: what to measure, and one trained model per owner.

Sees everybody's images and models in plaintext, as does whoever runs an experiment.
"""

import dataclasses
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from privedge.errors import ConfigError
from privedge.progress import Progress
from privedge.ran import features
from privedge.ran.images import fit
from privedge.ran.presets import preset
from privedge.ran.spec import RanSpec
from privedge.user import checkpoint, many
from privedge.user.checkpoint import Ran
from privedge.user.fitting import fit_ran
from privedge.user.own_images import for_so_many
from privedge.user.settings import TrainSettings, settings_for
from privedge_lab import datasets
from privedge_lab.evaluation import identify_engines, identify_figures
from privedge_lab.evaluation.identify_figures import Errors
from privedge_lab.evaluation.identify_parts import Choice, Parts
from privedge_lab.results.rows.identify import Known
from privedge_lab.results.rows.values import Raw

BASELINES = ("pca", "knn", "cnn")
# Only if asked for: it takes long. With a number of steps as in paper:500.
PAPER = "paper"
_PAPER_STEPS = 100
# Of an owner's own validation errors; the threshold for "not mine" in `known`.
_QUANTILE = 0.95
# Smaller cohorts have no half to be strangers.
_LEAST_FOR_KNOWN = 4


@dataclass(frozen=True)
class Task:
    """What to train and ask, the same for every seed.

    choice       how the set is dealt out; its seed is replaced by each of the seeds
    components   in place of the preset's; None leaves them
    steps        training steps in place of the preset's; None leaves them
    """

    data: Path
    choice: Choice
    preset: str = "auto"
    components: int | None = None
    steps: int | None = None
    baselines: tuple[str, ...] = BASELINES

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        for name in self.baselines:
            if name not in BASELINES and paper_steps(name) is None:
                known = ", ".join((*BASELINES, f"{PAPER}:STEPS"))
                raise ConfigError(f"baseline {name!r} is unknown; choose from {known}, none")

    def settings(self) -> Raw:
        """What names a results file: everything but the seeds, and what the data is."""
        choice = dataclasses.asdict(self.choice)
        del choice["seed"]
        rest = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("data", "choice")
        }
        digest = datasets.digest(self.data)
        return {"data": self.data.absolute().name, "data_sha256": digest, **choice, **rest}


@dataclass(frozen=True)
class Cohort:
    """Trained models, what they are asked (`features` of `parts.images`), and their errors on it.

    Model i is of `parts.owners[i]`; errors float64 (n, owners).
    """

    rans: Sequence[Ran]
    parts: Parts
    features: npt.NDArray[np.float32]
    errors: Errors


def paper_steps(baseline: str) -> int | None:
    """How many steps `paper` or `paper:500` trains the original network; None for any other."""
    name, _, steps = baseline.partition(":")
    if name != PAPER or not (steps or str(_PAPER_STEPS)).isdecimal() or steps == "0":
        return None
    return int(steps or _PAPER_STEPS)


def spec_of(task: Task, parts: Parts) -> RanSpec:
    """The architecture asked for, for images as in `parts`. Raises ConfigError."""
    height, width = parts.images.shape[1:3]
    channels = 3 if parts.images.ndim == 4 else 1
    return preset(
        task.preset,
        height=height,
        width=width,
        channels=channels,
        components=task.components,
    )


def settings_of(task: Task, spec: RanSpec, seed: int) -> TrainSettings:
    """How every owner trains."""
    changes = {} if task.steps is None else {"steps": task.steps}
    return settings_for(spec, seed=seed, threshold_quantile=_QUANTILE, **changes)


@dataclass(frozen=True)
class Training:
    """How a cohort's models are trained side by side, and where they are kept meanwhile.

    folder      of one seed's models (mode 0600), which is made; in it one of each preset
    processes   that train at once
    keep        closed forms are stored there, too, although they take no time
    resume      go on with models that are there
    watch       is told how far each owner is
    """

    folder: Path
    processes: int = 1
    keep: bool = False
    resume: bool = False
    watch: many.Watch | None = None


def train_cohort(
    parts: Parts,
    spec: RanSpec,
    settings: TrainSettings,
    progress: Progress,
    training: Training | None = None,
) -> Cohort:
    """One model an owner, on the owner's own images alone, and their errors on what is asked.

    Without `training`, one after the other in this process. Raises TrainingError for an owner with
    too few images.
    """
    return asked(train_models(parts, spec, settings, progress, training), parts)


def train_models(
    parts: Parts,
    spec: RanSpec,
    settings: TrainSettings,
    progress: Progress,
    training: Training | None = None,
) -> list[Ran]:
    """The models of `train_cohort`, not asked anything yet."""
    if training is not None and (settings.steps or training.keep):
        return _side_by_side(parts, spec, settings, progress, training)
    rans = []
    for number, (owner, images) in enumerate(zip(parts.owners, parts.train, strict=True)):
        progress(f"train {spec.name}", number, len(parts.owners))
        chosen = for_so_many(settings, len(images))
        rans.append(fit_ran(fit(images, spec.image), spec, chosen, owner))
    return rans


def _side_by_side(
    parts: Parts, spec: RanSpec, settings: TrainSettings, progress: Progress, training: Training
) -> list[Ran]:
    folder = training.folder / spec.name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    jobs = [
        many.Job(
            owner,
            fit(images, spec.image),
            spec,
            for_so_many(settings, len(images)),
            folder / f"{owner}.ran",
        )
        for owner, images in zip(parts.owners, parts.train, strict=True)
    ]
    progress(f"train {spec.name}", 0, len(jobs))
    done = many.train_all(
        jobs, processes=training.processes, resume=training.resume, watch=training.watch
    )
    with closing(done):
        for number, _ in enumerate(done, start=1):
            progress(f"train {spec.name}", number, len(jobs))
    return [checkpoint.load(job.out) for job in jobs]


def asked(rans: Sequence[Ran], parts: Parts) -> Cohort:
    """The same models asked about `parts.images`, whatever `parts` they were trained on."""
    spec = rans[0].spec
    given = features.extract(spec, fit(parts.images, spec.image))
    errors = [identify_engines.errors_of(ran, given) for ran in rans]
    return Cohort(rans, parts, given, np.stack(errors, axis=1))


def known(cohort: Cohort, seed: int) -> Known:
    """Half of the owners as strangers. Nothing for fewer than four owners."""
    if len(cohort.rans) < _LEAST_FOR_KNOWN:
        return Known()
    thresholds = np.array([ran.parameters["threshold"][0] for ran in cohort.rans], np.float64)
    return identify_figures.known(cohort.errors, cohort.parts.labels, thresholds, seed)
