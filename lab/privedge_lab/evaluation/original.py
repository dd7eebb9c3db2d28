"""The original network by its published recipe, over as many sittings as it takes.

The network and its recipe are those of docs/explanation/references.md#privedge.

Every owner trains one on the owner's own images, for the same number of steps. Owners of one
process take turns. At points evenly spaced in steps each is looked at, and all are asked whose the
test images are, by the parameters with the least validation error so far. In the end a preset that
takes seconds to train is asked the very same images.

A sitting may end at any moment, by its time or by a signal. The next one goes on where it was, and
the rows are those of a run that was never broken off, but for seconds.

Rows: {"seed", "owner", "point", "step", "seconds", ...} of one owner's model, and {"seed", "point",
"macro_recall", ...} of all of them. Sees everything in plaintext: it plays all roles.
"""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from privedge import child_processes, regular_file
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
from privedge_lab.evaluation.original_turns import told_of
from privedge_lab.results.rows.original import OriginalRow
from privedge_lab.results.rows.scores import Scores
from privedge_lab.results.rows.values import Raw
from privedge_lab.results.store import Results

EXPERIMENT = "original"
PUBLISHED_STEPS, PUBLISHED_BATCH = 30_000, 128
_TURNS = "privedge_lab.evaluation.original_turns"
_MINUTE = 60.0
# What names a row: of an owner, or of all together.
_NAMED = ("seed", "owner", "point")


@dataclass(frozen=True)
class Plan:
    """What to train, and for how long.

    choice      how the set is dealt out, with its seed
    steps       of every owner's network
    minutes     of this sitting; None: to the end
    processes   that train side by side; with fewer than owners, owners take turns
    batch       images a step
    points      at which models are looked at; at most as many as steps
    beside      the preset that is asked the same images in the end
    device      cpu or cuda; on cuda one process trains all
    network     the preset trained
    """

    data: Path
    choice: Choice
    steps: int = PUBLISHED_STEPS
    minutes: float | None = None
    processes: int = 1
    batch: int = PUBLISHED_BATCH
    points: int = 40
    beside: str = "subspace32-fine"
    device: str = "cpu"
    network: str = "paper"

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        if self.minutes is not None and not self.minutes > 0:
            raise ConfigError("minutes: must be above 0")
        if not 1 <= self.points <= self.steps:
            raise ConfigError("points: must be at least 1, and at most as many as steps")
        if self.processes > 1 and self.device == "cuda":
            raise ConfigError("processes: on cuda one process trains all owners; give 1")

    def settings(self) -> Raw:
        """What names a results file, and what the data is; sittings may differ in the rest."""
        plan = dataclasses.asdict(self)
        for free in ("data", "minutes", "processes"):
            del plan[free]
        choice: Raw = plan.pop("choice")
        named = {"data": self.data.absolute().name, "data_sha256": datasets.digest(self.data)}
        return named | choice | plan


def measure(
    plan: Plan, data: datasets.Labelled, results: Results, folder: Path, progress: Progress
) -> Iterator[OriginalRow]:
    """Train, store rows as they come, and yield the last one, which has the final figures.

    If the sitting ends before, the row yielded is not `final`, has the steps so far, and is not
    stored. `folder` (mode 0700) has each owner's best model in models, and in unfinished what the
    next sitting goes on with, which is removed in the end. Raises ConfigError for a set that cannot
    be dealt out like this, TrainingError for an owner with too few images or a training that
    diverged.
    """
    last = results.row(OriginalRow, {"seed": plan.choice.seed, "final": True})
    unfinished = folder / "unfinished"
    if last is None:
        parts = deal(data, plan.choice)
        spec = spec_of(plan.network, parts)
        spec_of(plan.beside, parts)  # Rather refused now than after hours.
        for made in (folder / "models", unfinished):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        points = _Points(plan, parts, results, progress)
        points.told_before(unfinished)
        steps: dict[str, int] = {}
        with tempfile.TemporaryDirectory(dir=unfinished) as given:
            turns = requests(plan, spec, parts, Path(given), folder)
            with child_processes.started(len(turns), _TURNS) as ask:
                for _, answer in ask(list(enumerate(turns)), lambda _, told: points.told(told)):
                    steps |= answer
        last = points.last(steps)
        if last.final:
            results.add(last.to_json())
    if last.final:
        shutil.rmtree(unfinished, ignore_errors=True)
    yield last


class _Points:
    """Rows from what the processes tell, each stored at once."""

    def __init__(self, plan: Plan, parts: Parts, results: Results, progress: Progress) -> None:
        self._plan, self._parts, self._results = plan, parts, results
        self._progress = progress
        self._errors: dict[int, dict[str, list[float]]] = {}
        self._rows: dict[int, dict[str, OriginalRow]] = {}
        self._complete = 0

    def told_before(self, unfinished: Path) -> None:
        """What earlier sittings told, in the order in which one sitting would have."""
        for point in range(1, self._plan.points + 1):
            for owner in self._parts.owners:
                path = told_of(saved_of(unfinished, owner), point)
                if path.exists():
                    self.told({"file": str(path)})

    def told(self, told: Raw) -> None:
        """One owner's model at one point; `errors` are of the images asked."""
        given: Raw = json.loads(regular_file.read(Path(told["file"])))
        owner, point = given["owner"], given["point"]
        self._errors.setdefault(point, {})[owner] = given.pop("errors")
        row = OriginalRow(seed=self._plan.choice.seed, **given)
        self._rows.setdefault(point, {})[owner] = row
        self._store(row)
        if len(self._errors[point]) == len(self._parts.owners):
            self._complete = point
            self._store(self._together(point))
        self._progress(f"{owner}, step {given['step']}", point, self._plan.points)

    def last(self, steps: Mapping[str, int]) -> OriginalRow:
        """The figures after the last point beside what is held against them, or how far it came."""
        row = self._reached(steps)
        if min(steps.values()) < self._plan.steps:
            return row
        return dataclasses.replace(row, final=True, baselines=self._baselines())

    def _reached(self, steps: Mapping[str, int]) -> OriginalRow:
        plan, parts, point = self._plan, self._parts, self._complete
        return OriginalRow(
            seed=plan.choice.seed,
            preset=plan.network,
            owners=len(parts.owners),
            asked=len(parts.labels),
            batch=plan.batch,
            steps={owner: steps[owner] for owner in parts.owners},
            published_steps=PUBLISHED_STEPS,
            published_batch=PUBLISHED_BATCH,
            seconds_each=self._seconds_each(point) if point else None,
            **(vars(self._figures(point)) if point else {}),
        )

    def _baselines(self) -> dict[str, Scores]:
        plan, parts = self._plan, self._parts
        beside = spec_of(plan.beside, parts)
        settings = settings_for(beside, seed=plan.choice.seed)
        models = cohort.train_cohort(parts, beside, settings, self._progress)
        answers = models.errors.argmin(axis=1)
        linear = identify_figures.figures(parts.labels, answers, parts.owners)
        raw = identify_baselines.learnt(
            ("pca",), parts, spec_of("subspace32", parts), plan.choice.seed, self._progress
        )
        return {plan.beside: linear.scores} | identify_baselines.scores(
            raw, parts.images, parts.labels, parts.owners
        )

    def _together(self, point: int) -> OriginalRow:
        found = self._figures(point)
        return OriginalRow(
            seed=self._plan.choice.seed,
            point=point,
            seconds_each=self._seconds_each(point),
            macro_recall=found.macro_recall,
            accuracy=found.accuracy,
            steps={owner: self._rows[point][owner].step for owner in self._parts.owners},
        )

    def _seconds_each(self, point: int) -> float:
        return fmean(row.seconds or 0.0 for row in self._rows[point].values())

    def _figures(self, point: int) -> identify_figures.Figures:
        parts = self._parts
        errors = np.array([self._errors[point][owner] for owner in parts.owners])
        return identify_figures.figures(parts.labels, errors.argmin(axis=0), parts.owners)

    def _store(self, row: OriginalRow) -> None:
        # The next sitting is told again of all points before.
        stored = row.to_json()
        if self._results.find({name: stored.get(name) for name in _NAMED}) is None:
            self._results.add(stored)


def spec_of(name: str, parts: Parts) -> RanSpec:
    """The preset `name` for images as in `parts`."""
    height, width = parts.images.shape[1:3]
    channels = 3 if parts.images.ndim == 4 else 1
    return preset(name, height=height, width=width, channels=channels)


def requests(plan: Plan, spec: RanSpec, parts: Parts, given: Path, folder: Path) -> Sequence[Raw]:
    """One for each process: owners in turn, all the same number of them or one fewer.

    Images are written to `given`; `folder` is that of `measure`.
    """
    asked = _stored(given / "asked.npz", pictures(parts.images), spec)
    owners = [
        {
            "owner": owner,
            "images": _stored(given / f"{number}.npz", pictures(images), spec),
            "unfinished": str(saved_of(folder / "unfinished", owner).resolve()),
            "model": str((folder / "models" / f"{owner}.ran").resolve()),
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
        "seconds": None if plan.minutes is None else plan.minutes * _MINUTE,
        "steps": plan.steps,
        "points": plan.points,
    }
    count = min(plan.processes, len(owners))
    return [shared | {"owners": owners[number::count]} for number in range(count)]


def saved_of(unfinished: Path, owner: str) -> Path:
    """The file with an owner's training as it is."""
    return unfinished / f"{owner}.unfinished"


def _stored(path: Path, images: Pixels, spec: RanSpec) -> str:
    np.savez(path, images=fit(images, spec.image_shape))
    return str(path.resolve())
