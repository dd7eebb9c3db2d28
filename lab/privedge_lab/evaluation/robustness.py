"""Robustness measured: models of clean images, asked about disturbed ones.

A seed's models and baselines are trained once; then every disturbance is applied to what is asked,
and all of them are asked the very same disturbed images. One row a disturbance, level and seed,
stored as soon as it is there. Sees everything in plaintext: it plays all roles.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from privedge.progress import Progress
from privedge_lab.datasets import Labelled
from privedge_lab.evaluation import cohort, identify_baselines, identify_figures
from privedge_lab.evaluation.cohort import Task
from privedge_lab.evaluation.disturbances import REFERENCE, Disturbance
from privedge_lab.evaluation.identify_parts import deal, pictures
from privedge_lab.results.rows.robustness import RobustnessRow
from privedge_lab.results.rows.values import Raw
from privedge_lab.results.store import Results

EXPERIMENT = "robustness"


@dataclass(frozen=True)
class Request(Task):
    """A task, and the disturbances that are measured beside none."""

    disturbances: tuple[Disturbance, ...] = ()

    def settings(self) -> Raw:
        """As a Task's; disturbances are not part of it, so that further ones can be added."""
        found = super().settings()
        del found["disturbances"]
        return found


def measure(
    request: Request,
    data: Labelled,
    seeds: Sequence[int],
    results: Results,
    progress: Progress,
) -> Iterator[RobustnessRow]:
    """A row for each seed, the reference and each disturbance; old ones from `results`.

    Figures are of float32 errors. Raises as `identify.measure` does.
    """
    wanted = list(dict.fromkeys([REFERENCE, *request.disturbances]))
    for seed in seeds:
        bench: _Bench | None = None
        for done, disturbance in enumerate(wanted):
            row = results.row(RobustnessRow, _configuration(disturbance, seed))
            if row is None:
                bench = bench or _Bench(request, data, seed, progress)
                progress(f"{disturbance.name} {disturbance.level:g}", done, len(wanted))
                row = bench.row(disturbance)
                results.add(row.to_json())
            yield row


class _Bench:
    """One seed's models and baselines, trained on clean images."""

    def __init__(self, task: Task, data: Labelled, seed: int, progress: Progress) -> None:
        self._seed, self._files = seed, task.files
        self._parts = parts = deal(data, replace(task.choice, seed=seed))
        spec = cohort.spec_of(task, parts)
        settings = cohort.settings_of(task, spec, seed)
        self._rans = cohort.train_models(parts, spec, settings, progress)
        self._baselines = identify_baselines.learnt(task.baselines, parts, spec, seed, progress)

    def row(self, disturbance: Disturbance) -> RobustnessRow:
        parts = self._parts
        disturbed = replace(parts, images=disturbance.applied(pictures(parts.images), self._seed))
        models = cohort.asked(self._rans, disturbed, self._files)
        owners, truth = parts.owners, parts.labels
        found = identify_figures.figures(truth, models.errors.argmin(axis=1), owners)
        return RobustnessRow(
            **_configuration(disturbance, self._seed),
            preset=self._rans[0].spec.name,
            owners=len(owners),
            asked=len(truth),
            macro_recall=found.macro_recall,
            accuracy=found.accuracy,
            auroc_known=cohort.known(models, self._seed).auroc_known,
            baselines=identify_baselines.scores(self._baselines, disturbed.images, truth, owners),
        )


def _configuration(disturbance: Disturbance, seed: int) -> Raw:
    return {"seed": seed, "disturbance": disturbance.name, "level": disturbance.level}
