"""What experiments on identification share: what to measure, and one trained model per owner.

Sees everybody's images and models in plaintext, as does whoever runs an experiment.
"""

import dataclasses
import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from privedge.arrays import Features, Inputs, is_pixels
from privedge.errors import ConfigError
from privedge.progress import Progress
from privedge.ran import face, features, onnx_file
from privedge.ran.alignment import aligner_for
from privedge.ran.inputs import Opened
from privedge.ran.named_spec import spec_named
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.ran.spec import RanSpec
from privedge.user import checkpoint, many
from privedge.user.architecture import spec_for, takes_vectors
from privedge.user.checkpoint import Ran
from privedge.user.fitting import fit_ran
from privedge.user.own_images import for_so_many
from privedge.user.settings import TrainSettings, settings_for
from privedge_lab import datasets, encoded
from privedge_lab.evaluation import identify_engines, identify_figures
from privedge_lab.evaluation.identify_figures import Errors
from privedge_lab.evaluation.identify_parts import Choice, Parts
from privedge_lab.results.rows.identify import Known
from privedge_lab.results.rows.values import Raw

log = logging.getLogger(__name__)

BASELINES = ("pca", "knn", "cnn")
# Only if asked for: it takes long. With a number of steps as in paper:500.
PAPER = "paper"
_PAPER_STEPS = 100
# Of an owner's own validation errors; the threshold for "not mine" in `known`.
_QUANTILE = 0.95
# Fields of a Task that are settings of its training.
_ADVERSARIAL = ("adversarial_weight", "adversarial_loss")
# Smaller cohorts have no half to be strangers.
_LEAST_FOR_KNOWN = 4


@dataclass(frozen=True)
class Task:
    """What to train and ask, the same for every seed.

    choice       how the set is dealt out; its seed is replaced by each of the seeds
    components   in place of the preset's; None leaves them
    unit_length  whether vectors are divided by their length
    steps        training steps in place of the preset's; None leaves them
    adversarial_weight, adversarial_loss    of training, likewise
    spec         the architecture, in place of the preset
    files        the public files that it needs, or whose encoder the preset gets
    """

    data: Path
    choice: Choice
    preset: str = "auto"
    components: int | None = None
    unit_length: bool | None = None
    steps: int | None = None
    baselines: tuple[str, ...] = BASELINES
    spec: RanSpec | None = None
    files: PublicFiles = NO_FILES
    adversarial_weight: float | None = None
    adversarial_loss: str | None = None

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
        if self.choice.photos is None:  # as in results from before
            del choice["photos"]
        rest = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("data", "choice", "spec", "files")
        }
        if self.spec is not None:
            rest |= {"spec_sha256": self.spec.digest()}
        for name, file in vars(self.files).items():
            if file is not None:  # results without one have no such setting
                rest |= {f"{name}_sha256": onnx_file.digest(file)}
        for name in ("unit_length", *_ADVERSARIAL):
            if rest[name] is None:  # results of before have no such setting
                del rest[name]
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


def read(
    task: Task,
    progress: Progress,
    path: Path | None = None,
    *,
    or_vectors: bool = False,
    skip_bad: bool | None = None,
) -> datasets.Cut:
    """Read the set of `task`, or another one at `path`, for what `task` trains.

    For an aligned spec the faces are cut out, and images without one are left out. Raises
    ConfigError for files that are missing, and ImageError. skip_bad: as for `datasets.read`; images
    without a face are left out by themselves.
    """
    path = path or task.data
    spec = task.spec
    if spec is None and (task.files.detector is not None or task.preset == face.NAME):
        # The size of the pictures does not matter: a face is brought to that of the encoder.
        spec = spec_named(
            task.preset, height=face.SIDE, width=face.SIDE, channels=3, files=task.files
        )
    aligner = None if spec is None else aligner_for(spec, task.files)
    if spec is None or aligner is None:
        return datasets.Cut(datasets.read(path, or_vectors=or_vectors, skip_bad=skip_bad), ())
    found = datasets.faces_of(path, aligner, spec.image_shape, progress, skip_bad=skip_bad)
    if found.left_out:
        log.warning("%d images left out: %s", len(found.left_out), "; ".join(found.left_out[:3]))
    return found


def spec_of(task: Task, parts: Parts) -> RanSpec:
    """The architecture asked for, for images or vectors as in `parts`. Raises ConfigError or
    ImageError.
    """
    if task.spec is not None:
        if task.components is not None:
            raise ConfigError("components: the spec has them already; leave them out")
        if task.unit_length is not None:
            raise ConfigError("unit length: the spec has it already; leave it out")
        encoded.require_wanted(task.spec, task.files)
        return task.spec
    if takes_vectors(task.preset) or not is_pixels(parts.images):
        return spec_for(
            Opened((), parts.images),
            preset=task.preset,
            components=task.components,
            unit_length=task.unit_length,
            files=task.files,
        )
    if task.unit_length is not None:
        raise ConfigError("unit length: is for vectors, and these are pictures")
    height, width = parts.images.shape[1:3]
    channels = 3 if parts.images.ndim == 4 else 1
    return spec_named(
        task.preset,
        height=height,
        width=width,
        channels=channels,
        components=task.components,
        pictures=min(map(len, parts.train)),
        files=task.files,
    )


def fitted(inputs: Inputs, spec: RanSpec) -> Inputs:
    """Images at the size of the spec, or vectors as they are."""
    return Opened((), inputs).at(spec.image)


def settings_of(task: Task, spec: RanSpec, seed: int) -> TrainSettings:
    """How every owner trains. Raises ConfigError for what the architecture does not take."""
    asked = {name: getattr(task, name) for name in ("steps", *_ADVERSARIAL)}
    changes = {name: value for name, value in asked.items() if value is not None}
    if spec.components and changes.keys() & set(_ADVERSARIAL):
        raise ConfigError(
            f"adversarial weight, loss: {spec.name} is fitted in closed form; leave them out"
        )
    quantile = {"threshold_quantile": _QUANTILE}
    return settings_for(spec, seed=seed, files=task.files, **quantile, **changes)


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
    rans = train_models(parts, spec, settings, progress, training)
    return asked(rans, parts, settings.files)


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
        rans.append(fit_ran(fitted(images, spec), spec, chosen, owner))
    return rans


def _side_by_side(
    parts: Parts, spec: RanSpec, settings: TrainSettings, progress: Progress, training: Training
) -> list[Ran]:
    folder = training.folder / spec.name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    jobs = [
        many.Job(
            owner,
            fitted(images, spec),
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


def asked(rans: Sequence[Ran], parts: Parts, files: PublicFiles = NO_FILES) -> Cohort:
    """The same models asked about `parts.images`, whatever `parts` they were trained on.

    files: the public files that their spec names.
    """
    given = features_of(rans[0].spec, parts.images, files)
    errors = [identify_engines.errors_of(ran, given) for ran in rans]
    return Cohort(rans, parts, given, np.stack(errors, axis=1))


def features_of(spec: RanSpec, images: Inputs, files: PublicFiles) -> Features:
    """What the feature map makes of images of any size, or of vectors: float32 (n, *input_shape).

    Raises ImageError for vectors in place of images, and the reverse.
    """
    return features.extract(spec, fitted(images, spec), encoder=files.encoder)


def known(cohort: Cohort, seed: int) -> Known:
    """Half of the owners as strangers. Nothing for fewer than four owners."""
    if len(cohort.rans) < _LEAST_FOR_KNOWN:
        return Known()
    thresholds = np.array([ran.parameters["threshold"][0] for ran in cohort.rans], np.float64)
    return identify_figures.known(cohort.errors, cohort.parts.labels, thresholds, seed)
