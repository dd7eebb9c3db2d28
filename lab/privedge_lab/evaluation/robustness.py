"""Robustness measured: models of clean images, asked about disturbed ones.

A seed's models and baselines are trained once; then every disturbance is applied to what is asked,
and all of them are asked the very same disturbed images. One row a disturbance, level and seed,
stored as soon as it is there. Sees everything in plaintext: it plays all roles.
"""

from collections.abc import Sequence
from dataclasses import replace

from privedge_lab.datasets import Labelled
from privedge_lab.evaluation import cohort, identify_baselines, identify_figures
from privedge_lab.evaluation.cohort import Task
from privedge_lab.evaluation.disturbances import REFERENCE, Disturbance
from privedge_lab.evaluation.identify_engines import Progress
from privedge_lab.evaluation.identify_parts import deal
from privedge_lab.results.store import Results, Row

EXPERIMENT = "robustness"


def measure(
    task: Task,
    disturbances: Sequence[Disturbance],
    data: Labelled,
    seeds: Sequence[int],
    results: Results,
    progress: Progress,
) -> list[Row]:
    """A row for the reference and each of `disturbances`, of each seed; old ones from `results`.

    Figures are of float32 errors. Raises as `identify.measure` does.
    """
    wanted = list(dict.fromkeys([REFERENCE, *disturbances]))
    rows = []
    for seed in seeds:
        missing = [each for each in wanted if results.find(_configuration(each, seed)) is None]
        if missing:
            bench = _Bench(task, data, seed, progress)
            for done, disturbance in enumerate(missing):
                progress(f"{disturbance.name} {disturbance.level:g}", done, len(missing))
                results.add(bench.row(disturbance))
        rows += [results.find(_configuration(each, seed)) for each in wanted]
    return [row for row in rows if row is not None]


class _Bench:
    """One seed's models and baselines, trained on clean images."""

    def __init__(self, task: Task, data: Labelled, seed: int, progress: Progress) -> None:
        self._seed = seed
        self._parts = parts = deal(data, replace(task.choice, seed=seed))
        spec = cohort.spec_of(task, parts)
        settings = cohort.settings_of(task, spec, seed)
        self._rans = cohort.train_models(parts, spec, settings, progress)
        self._baselines = identify_baselines.learnt(task.baselines, parts, spec, seed, progress)

    def row(self, disturbance: Disturbance) -> Row:
        parts = self._parts
        disturbed = replace(parts, images=disturbance.applied(parts.images, self._seed))
        models = cohort.asked(self._rans, disturbed)
        owners, truth = parts.owners, parts.labels
        found = identify_figures.figures(truth, models.errors.argmin(axis=1), owners)
        return _configuration(disturbance, self._seed) | {
            "preset": self._rans[0].spec.name,
            "owners": len(owners),
            "asked": len(truth),
            "macro_recall": found["macro_recall"],
            "accuracy": found["accuracy"],
            "auroc_known": cohort.known(models, self._seed)["auroc_known"],
            "baselines": identify_baselines.rows(self._baselines, disturbed.images, truth, owners),
        }


def _configuration(disturbance: Disturbance, seed: int) -> Row:
    return {"seed": seed, "disturbance": disturbance.name, "level": disturbance.level}
