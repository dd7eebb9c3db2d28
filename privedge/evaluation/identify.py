"""Identification measured: whose image is it, asked of one-class models that never saw each other.

    1. deal the set out among owners (identify_parts.py)
    2. every owner trains a RAN on the owner's own images, as `privedge train` does
    3. ask all of them about images that nobody trained on (identify_engines.py)
    4. the baselines on the very same images (identify_baselines.py), and figures

One row a seed, stored as soon as it is there. Sees everything in plaintext: it plays all roles.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from privedge import datasets
from privedge.errors import ConfigError
from privedge.evaluation import identify_baselines, identify_engines, identify_figures
from privedge.evaluation.identify_baselines import BASELINES
from privedge.evaluation.identify_engines import ENGINES, Asked, Progress
from privedge.evaluation.identify_figures import Errors, Labels
from privedge.evaluation.identify_parts import Choice, Parts, deal
from privedge.evaluation.results import Results, Row
from privedge.ran import features
from privedge.ran.images import fit
from privedge.ran.presets import preset
from privedge.ran.spec import RanSpec
from privedge.user.checkpoint import Ran
from privedge.user.settings import TrainSettings, settings_for
from privedge.user.train import train

EXPERIMENT = "identify"
# Of an owner's own validation errors; the threshold for "not mine" in `known`.
_QUANTILE = 0.95
# Smaller cohorts have no half to be strangers.
_LEAST_FOR_KNOWN = 4


@dataclass(frozen=True)
class Request:
    """What to measure, the same for every seed.

    choice       how the set is dealt out; its seed is replaced by each of the seeds
    components   in place of the preset's; None leaves them
    steps        training steps in place of the preset's; None leaves them
    engine       whose answers the figures are of; `fused` is asked `queries` images only
    queries      images that engines are compared on
    words        vote over so many images of one page; 0 for no vote
    """

    data: Path
    choice: Choice
    preset: str = "auto"
    components: int | None = None
    steps: int | None = None
    engine: str = ENGINES[0]
    baselines: tuple[str, ...] = BASELINES
    queries: int = 100
    words: int = 0

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        if self.engine not in ENGINES:
            raise ConfigError(
                f"engine {self.engine!r} is unknown; choose from {', '.join(ENGINES)}"
            )
        for name in self.baselines:
            if name not in BASELINES:
                known = ", ".join(BASELINES)
                raise ConfigError(f"baseline {name!r} is unknown; choose from {known}, none")
        if self.words and self.choice.group is None:
            raise ConfigError("words: needs --group, the fact that says which page an image is of")

    def settings(self) -> Row:
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
class _Cohort:
    """Trained models, what they are asked, and their errors on it."""

    rans: Sequence[Ran]
    parts: Parts
    features: Any
    errors: Errors


def measure(
    request: Request,
    data: datasets.Labelled,
    seeds: Sequence[int],
    results: Results,
    progress: Progress,
) -> list[Row]:
    """One row for each of `seeds`; those that `results` has already are not measured again.

    Raises ConfigError or ImageError for a set that cannot be dealt out like this, TrainingError
    for an owner with too few images, and with engine `fused` whatever a party refuses.
    """
    rows = []
    for seed in seeds:
        row = results.find({"seed": seed})
        if row is None:
            row = _row(request, data, seed, progress)
            results.add(row)
        rows.append(row)
    return rows


def summary(rows: Sequence[Row]) -> Row:
    """The mean over `rows` of every figure they all have; nested figures too."""
    means: Row = {}
    for name, first in rows[0].items():
        values = [row[name] for row in rows]
        if isinstance(first, dict):
            means[name] = summary(values)
        elif isinstance(first, int | float) and name != "seed":
            means[name] = float(np.mean(values))
        elif first is None:
            means[name] = None
    return means


def _row(request: Request, data: datasets.Labelled, seed: int, progress: Progress) -> Row:
    started = perf_counter()
    parts = deal(data, dataclasses.replace(request.choice, seed=seed))
    spec = _spec(request, parts)
    cohort = _cohort(parts, spec, _settings(request, spec, seed), progress)
    trained = perf_counter()
    answers, asked, agreement = _answers(request, cohort, progress)
    answered = perf_counter()
    truth = parts.labels[: len(answers)]
    row = {
        "seed": seed,
        "preset": spec.name,
        "owners": len(parts.owners),
        "trained_on": sum(map(len, parts.train)),
        "asked": len(answers),
        **identify_figures.figures(truth, answers, parts.owners),
        "top3": identify_figures.top(cohort.errors, parts.labels),
        **_known(cohort, seed),
        **_voted(request, cohort),
        "agreement": agreement,
        "baselines": _baselines(request, cohort, seed, progress),
        "bytes_per_query": asked.bytes_per_query if asked else None,
        "seconds_per_query": float(np.median(asked.seconds)) if asked else None,
        "seconds_training": trained - started,
        "seconds_asking": answered - trained,
    }
    return row | {"seconds": perf_counter() - started}


def _spec(request: Request, parts: Parts) -> RanSpec:
    height, width = parts.images.shape[1:3]
    channels = 3 if parts.images.ndim == 4 else 1
    return preset(
        request.preset,
        height=height,
        width=width,
        channels=channels,
        components=request.components,
    )


def _settings(request: Request, spec: RanSpec, seed: int) -> TrainSettings:
    changes = {} if request.steps is None else {"steps": request.steps}
    return settings_for(spec, seed=seed, threshold_quantile=_QUANTILE, **changes)


def _cohort(parts: Parts, spec: RanSpec, settings: TrainSettings, progress: Progress) -> _Cohort:
    given = features.extract(spec, fit(parts.images, spec.image))
    rans, errors = [], []
    for number, (owner, images) in enumerate(zip(parts.owners, parts.train, strict=True)):
        progress(f"train {spec.name}", number, len(parts.owners))
        rans.append(train(fit(images, spec.image), spec, settings, owner))
        errors.append(identify_engines.errors_of(rans[-1], given))
    return _Cohort(rans, parts, given, np.stack(errors, axis=1))


def _answers(
    request: Request, cohort: _Cohort, progress: Progress
) -> tuple[Labels, Asked | None, Row]:
    """Answers of the engine, what asking it privately took, and how engines agree."""
    rans, few = cohort.rans, slice(request.queries)
    plain = cohort.errors.argmin(axis=1)
    if request.engine == "fixed":
        progress("fixed point", 0, 1)
        answers = identify_engines.fixed(rans, cohort.features)
        return answers, None, _agreement(len(answers), fixed_plain=answers == plain)
    if request.engine == "plain":
        progress("fixed point", 0, 1)
        answers = identify_engines.fixed(rans, cohort.features[few])
        return plain, None, _agreement(len(answers), fixed_plain=answers == plain[few])
    expected = identify_engines.with_ties(rans, cohort.features[few])
    clear = identify_engines.numbered(rans, [each.owner for each in expected])
    ties = np.array([each.tie for each in expected])
    asked = identify_engines.fused(rans, cohort.parts.images[few], rans[0].spec.name, progress)
    agreement = _agreement(
        len(clear),
        fixed_plain=clear == plain[few],
        fused_fixed=(asked.answers == clear),
        fused_fixed_outside_ties=(asked.answers == clear) | ties,
    )
    return asked.answers, asked, agreement | {"ties": int(ties.sum())}


def _agreement(queries: int, **same: Any) -> Row:
    return {name: float(values.mean()) for name, values in same.items()} | {"queries": queries}


def _known(cohort: _Cohort, seed: int) -> Row:
    if len(cohort.rans) < _LEAST_FOR_KNOWN:
        return {"auroc_known": None, "known": {}}
    thresholds = np.array([ran.parameters["threshold"][0] for ran in cohort.rans], np.float64)
    known = identify_figures.known(cohort.errors, cohort.parts.labels, thresholds, seed)
    return {"auroc_known": known["auroc_margin"], "known": known}


def _voted(request: Request, cohort: _Cohort) -> Row:
    if not request.words:
        return {}
    parts = cohort.parts
    errors, truth = identify_figures.voted(cohort.errors, parts.labels, parts.pages, request.words)
    if not len(truth):
        raise ConfigError(f"words: no page has {request.words} images to ask")
    found = identify_figures.figures(truth, errors.argmin(axis=1), parts.owners)
    kept = ("macro_precision", "macro_recall", "accuracy")
    return {"voting": {"asked": len(truth), **{name: found[name] for name in kept}}}


def _baselines(request: Request, cohort: _Cohort, seed: int, progress: Progress) -> Row:
    parts, spec = cohort.parts, cohort.rans[0].spec
    ways: dict[str, Callable[[], Labels]] = {
        "pca": lambda: _pca(cohort, seed, progress),
        "knn": lambda: identify_baselines.knn(parts, spec.image),
        "cnn": lambda: identify_baselines.cnn(parts, spec.image, seed),
    }
    rows: Row = {}
    for number, name in enumerate(request.baselines):
        progress(f"baseline {name}", number, len(request.baselines))
        found = identify_figures.figures(parts.labels, ways[name](), parts.owners)
        rows[name] = {key: found[key] for key in ("macro_precision", "macro_recall", "accuracy")}
    return rows


def _pca(cohort: _Cohort, seed: int, progress: Progress) -> Labels:
    spec = identify_baselines.pca(cohort.rans[0].spec)
    errors = _cohort(cohort.parts, spec, settings_for(spec, seed=seed), progress).errors
    answers: Labels = errors.argmin(axis=1)
    return answers
