"""The original network, trained as long as one allows, and how it converges.

The network and its recipe are those of docs/explanation/references.md#privedge.

Every owner trains one on the owner's own images, by the published recipe, for the same number of
seconds. Owners of one process take turns, so that at any moment all have been trained as long as
each other. At points evenly spaced in time each is looked at, and all are asked whose the test
images are, by the parameters with the least validation error so far. In the end a preset that takes
seconds to train is asked the very same images.

Rows: {"seed", "owner", "point", "step", "seconds", ...} of one owner's model, and {"seed", "point",
"macro_recall", ...} of all of them. Sees everything in plaintext: it plays all roles.
"""

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np

from privedge import child_processes
from privedge.arrays import Pixels
from privedge.errors import ConfigError
from privedge.progress import Progress
from privedge.ran.images import fit
from privedge.ran.presets import preset
from privedge.ran.spec import RanSpec
from privedge.user.settings import settings_for
from privedge_lab import datasets
from privedge_lab.evaluation import cohort, identify_baselines, identify_figures
from privedge_lab.evaluation.identify_parts import Choice, Parts, deal, pictures
from privedge_lab.results.rows.original import OriginalRow
from privedge_lab.results.rows.values import Raw
from privedge_lab.results.store import Results

EXPERIMENT = "original"
PUBLISHED_STEPS, PUBLISHED_BATCH = 30_000, 128
_TURNS = "privedge_lab.evaluation.original_turns"
_MINUTE = 60.0


@dataclass(frozen=True)
class Plan:
    """What to train, and for how long.

    choice      how the set is dealt out, with its seed
    minutes     of training for all owners together, as `original_turns` counts them
    processes   that train side by side; with fewer than owners, owners take turns
    batch       images a step; published were 128
    points      at which models are looked at
    beside      the preset that is asked the same images in the end
    device      cpu or cuda; on cuda one process trains all
    network     the preset trained
    """

    data: Path
    choice: Choice
    minutes: float
    processes: int = 1
    batch: int = 16
    points: int = 40
    beside: str = "subspace32-fine"
    device: str = "cpu"
    network: str = "paper"

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        if not self.minutes > 0:
            raise ConfigError("minutes: must be above 0")
        if self.processes > 1 and self.device == "cuda":
            raise ConfigError("processes: on cuda one process trains all owners; give 1")

    def settings(self) -> Raw:
        """What names a results file, and what the data is."""
        plan = dataclasses.asdict(self)
        del plan["data"]
        choice: Raw = plan.pop("choice")
        named = {"data": self.data.absolute().name, "data_sha256": datasets.digest(self.data)}
        return named | choice | plan

    def seconds_each(self, owners: int) -> float:
        """Seconds that every owner's model is trained for."""
        return self.minutes * _MINUTE / ceil(owners / self.processes)


def measure(
    plan: Plan, data: datasets.Labelled, results: Results, folder: Path, progress: Progress
) -> Iterator[OriginalRow]:
    """Train, store rows as they come, and yield the last one, which has the final figures.

    Unfinished models are kept in `folder` (mode 0600); a measurement with the `results` of one that
    was broken off goes on with them. When all is done the folder is removed. Raises ConfigError for
    a set that cannot be dealt out like this, TrainingError for an owner with too few images or a
    training that diverged.
    """
    seed = plan.choice.seed
    last = results.row(OriginalRow, {"seed": seed, "final": True})
    if last is None:
        parts = deal(data, plan.choice)
        spec = spec_of(plan.network, parts)
        spec_of(plan.beside, parts)  # Rather refused now than after hours.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        points = _Points(plan, parts, results, progress)
        with tempfile.TemporaryDirectory(dir=folder) as given:
            turns = requests(plan, spec, parts, Path(given), folder)
            with child_processes.started(len(turns), _TURNS) as ask:
                for _ in ask(list(enumerate(turns)), lambda _, told: points.told(told)):
                    pass
        last = points.final()
        results.add(last.to_json())
    shutil.rmtree(folder, ignore_errors=True)
    yield last


class _Points:
    """Rows from what the processes tell, each stored at once."""

    def __init__(self, plan: Plan, parts: Parts, results: Results, progress: Progress) -> None:
        self._plan, self._parts, self._results = plan, parts, results
        self._progress = progress
        self._errors: dict[int, dict[str, list[float]]] = {}
        self._steps: dict[str, int] = {}

    def told(self, told: Raw) -> None:
        """One owner's model at one point; `errors` are of the images asked."""
        owner, point = told["owner"], told["point"]
        self._errors.setdefault(point, {})[owner] = told.pop("errors")
        self._steps[owner] = told["step"]
        row = OriginalRow(seed=self._plan.choice.seed, **told)
        self._store(row, ("seed", "owner", "point"))
        if len(self._errors[point]) == len(self._parts.owners):
            self._store(self._together(point), ("seed", "point", "seconds_each"))
        self._progress(f"{owner}, step {told['step']}", point, self._plan.points)

    def final(self) -> OriginalRow:
        """Figures after the last point, and the same of what is held against it."""
        plan, parts = self._plan, self._parts
        beside = spec_of(plan.beside, parts)
        settings = settings_for(beside, seed=plan.choice.seed)
        models = cohort.train_cohort(parts, beside, settings, self._progress)
        answers = models.errors.argmin(axis=1)
        linear = identify_figures.figures(parts.labels, answers, parts.owners)
        raw = identify_baselines.learnt(
            ("pca",), parts, spec_of("subspace32", parts), plan.choice.seed, self._progress
        )
        return OriginalRow(
            seed=plan.choice.seed,
            final=True,
            preset=plan.network,
            owners=len(parts.owners),
            asked=len(parts.labels),
            batch=plan.batch,
            steps=self._steps_each(),
            published_steps=PUBLISHED_STEPS,
            published_batch=PUBLISHED_BATCH,
            minutes=plan.minutes,
            seconds_each=plan.seconds_each(len(parts.owners)),
            **vars(self._figures(max(self._errors))),
            baselines={plan.beside: linear.scores}
            | identify_baselines.scores(raw, parts.images, parts.labels, parts.owners),
        )

    def _together(self, point: int) -> OriginalRow:
        each = self._plan.seconds_each(len(self._parts.owners))
        found = self._figures(point)
        return OriginalRow(
            seed=self._plan.choice.seed,
            point=point,
            seconds_each=each * point / self._plan.points,
            macro_recall=found.macro_recall,
            accuracy=found.accuracy,
            steps=self._steps_each(),
        )

    def _figures(self, point: int) -> identify_figures.Figures:
        parts = self._parts
        errors = np.array([self._errors[point][owner] for owner in parts.owners])
        return identify_figures.figures(parts.labels, errors.argmin(axis=0), parts.owners)

    def _steps_each(self) -> dict[str, float | None]:
        return {owner: self._steps[owner] for owner in self._parts.owners}

    def _store(self, row: OriginalRow, names: Sequence[str]) -> None:
        # A model that is gone on with tells its last point again.
        stored = row.to_json()
        if self._results.find({name: stored[name] for name in names}) is None:
            self._results.add(stored)


def spec_of(name: str, parts: Parts) -> RanSpec:
    """The preset `name` for images as in `parts`."""
    height, width = parts.images.shape[1:3]
    channels = 3 if parts.images.ndim == 4 else 1
    return preset(name, height=height, width=width, channels=channels)


def requests(plan: Plan, spec: RanSpec, parts: Parts, given: Path, folder: Path) -> Sequence[Raw]:
    """One for each process: owners in turn, all the same number of them or one fewer."""
    asked = _stored(given / "asked.npz", pictures(parts.images), spec)
    owners = [
        {
            "owner": owner,
            "images": _stored(given / f"{number}.npz", pictures(images), spec),
            "unfinished": str((folder / f"{owner}.unfinished").resolve()),
        }
        for number, (owner, images) in enumerate(zip(parts.owners, parts.train, strict=True))
    ]
    settings = settings_for(
        spec, seed=plan.choice.seed, batch=plan.batch, device=plan.device, threads=1
    )
    shared = {
        "asked": asked,
        "spec": spec.to_json(),
        "settings": settings.to_dict(),
        "seconds": plan.seconds_each(len(owners)),
        "points": plan.points,
    }
    count = min(plan.processes, len(owners))
    return [shared | {"owners": owners[number::count]} for number in range(count)]


def _stored(path: Path, images: Pixels, spec: RanSpec) -> str:
    np.savez(path, images=fit(images, spec.image_shape))
    return str(path.resolve())
