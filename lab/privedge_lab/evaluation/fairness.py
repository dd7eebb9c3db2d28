"""What a model that reconstructs too much wins of other owners' images, and what would stop it.

    1. deal the set out, and train an honest model for every owner
    2. put each thief (thieves.py) in the place of a few owners, one at a time
    3. answer every test image by least error, as the parties do, and by calibrated errors
    4. audit: is the thief's error on public images far below the cohort's median?

What came of it is in docs/results/evaluation.md#fairness-of-the-least-error.

A row a seed, thief and calibration. Only the raw error is what the parties compare, and neither
calibration nor audit is part of the protocol: this measures whether they should be.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from privedge.arrays import Features, Pixels, joined
from privedge.errors import ConfigError
from privedge.progress import Progress
from privedge.ran.images import fit
from privedge.ran.spec import RanSpec
from privedge.user import own_images
from privedge.user.settings import TrainSettings
from privedge_lab import datasets
from privedge_lab.evaluation import identify_figures, thieves
from privedge_lab.evaluation.cohort import (
    Cohort,
    Task,
    features_of,
    settings_of,
    spec_of,
    train_cohort,
)
from privedge_lab.evaluation.identify_figures import Errors
from privedge_lab.evaluation.identify_parts import as_bytes, deal, pictures
from privedge_lab.evaluation.thieves import NONE, Means, Model
from privedge_lab.results.rows.fairness import FairnessRow, WinRates
from privedge_lab.results.rows.values import Raw
from privedge_lab.results.store import Results

EXPERIMENT = "fairness"
CALIBRATIONS = ("none", "ratio", "z", "quantile")
_QUANTILE = 0.95
# The audit refuses models whose mean error on public images is below this share of the median.
_SHARE = 0.9
_PROBES, _PUBLIC = 300, 1500
# Of an owner's mean error: a deviation from few images may be zero.
_LEAST_DEVIATION = 0.01


@dataclass(frozen=True)
class Request(Task):
    """A task, and who steals.

    thieves   of THIEVES; None takes all that the preset can have
    tries     owners, drawn by the seed, in whose place each thief is put; figures are means
    probes    public images for the audit, and for thieves to learn from; None makes some up
    """

    thieves: tuple[str, ...] | None = None
    tries: int = 3
    probes: Path | None = None

    def settings(self) -> Raw:
        """As a Task's; the thieves are not part of it, so that further ones can be added."""
        found = super().settings()
        del found["thieves"]
        digest = datasets.digest(self.probes) if self.probes else None
        return found | {
            "probes": self.probes.name if self.probes else None,
            "probes_sha256": digest,
        }


@dataclass(frozen=True)
class _Scene:
    """The honest cohort, what it makes of held-out and public images, and what thieves learn from.

    held_out   features of the images that each owner kept out of training, `own` errors on them
    probes     features of public images, `on_probes` each model's mean error on them
    """

    cohort: Cohort
    settings: TrainSettings
    public: Pixels = field(repr=False)
    held_out: Sequence[Features] = field(repr=False)
    own: Sequence[Errors] = field(repr=False)
    probes: Features = field(repr=False)
    on_probes: Errors = field(repr=False)


@dataclass(frozen=True)
class _Put:
    """A cohort with a model in the place of owner `at`: errors, own errors, errors on probes.

    honest   numbers of the owners whose models are their own
    """

    at: int
    model: Model
    honest: Sequence[int]
    errors: Errors = field(repr=False)
    own: Sequence[Errors] = field(repr=False)
    on_probes: Errors = field(repr=False)


def measure(
    request: Request,
    data: datasets.Labelled,
    seeds: Sequence[int],
    results: Results,
    progress: Progress,
) -> Iterator[FairnessRow]:
    """Rows of every seed, thief and calibration; those that `results` has are not measured again.

    Raises ConfigError, ImageError or TrainingError for what cannot be measured.
    """
    spec = spec_of(request, deal(data, request.choice))
    wanted = (NONE, *thieves.chosen(request.thieves, spec))
    for seed in seeds:
        scene = None
        for number, name in enumerate(wanted):
            there = [results.row(FairnessRow, named) for named in _named(seed, name)]
            if None in there:
                scene = scene or _scene(request, data, seed, progress)
                progress(f"thief {name}", number, len(wanted))
                there = _added(there, _rows(request, scene, seed, name), results)
            yield from (row for row in there if row is not None)


def _added(
    there: Sequence[FairnessRow | None], rows: Sequence[FairnessRow], results: Results
) -> list[FairnessRow | None]:
    """Those that are there already are left as they are."""
    for stored, row in zip(there, rows, strict=True):
        if stored is None:
            results.add(row.to_json())
    return [stored or row for stored, row in zip(there, rows, strict=True)]


def _named(seed: int, name: str) -> list[Raw]:
    """What names a row, for each calibration."""
    return [{"seed": seed, "thief": name, "calibration": how} for how in CALIBRATIONS]


# --- The honest cohort ----------------------------------------------------------------------------


def _scene(request: Request, data: datasets.Labelled, seed: int, progress: Progress) -> _Scene:
    parts = deal(data, replace(request.choice, seed=seed))
    if len(parts.owners) <= request.tries:
        raise ConfigError(f"tries: {len(parts.owners)} owners take fewer than {request.tries}")
    spec = spec_of(request, parts)
    public = _public(request, spec, seed)
    settings = settings_of(request, spec, seed)
    cohort = train_cohort(parts, spec, settings, progress)
    models = [thieves.honest(ran) for ran in cohort.rans]
    held_out = [
        features_of(spec, _kept(pictures(images), spec, settings), request.files)
        for images in parts.train
    ]
    probes = features_of(spec, public[:_PROBES], request.files)
    return _Scene(
        cohort,
        settings,
        public[_PROBES:],
        held_out,
        [model.errors(kept) for model, kept in zip(models, held_out, strict=True)],
        probes,
        np.array([model.errors(probes).mean() for model in models]),
    )


def _public(request: Request, spec: RanSpec, seed: int) -> Pixels:
    """Those for the audit, then those to learn from."""
    if request.probes is None:
        return thieves.varied(spec.image_shape, _PROBES + _PUBLIC, seed)
    images = as_bytes(datasets.read(request.probes))
    order = np.random.default_rng(seed).permutation(len(images))[: _PROBES + _PUBLIC]
    if len(order) < 2 * _PROBES:
        raise ConfigError(f"{request.probes}: {len(images)} images; give at least {2 * _PROBES}")
    return fit(images[order], spec.image_shape)


def _kept(images: Pixels, spec: RanSpec, settings: TrainSettings) -> Pixels:
    """Those of an owner's images that training does not learn from."""
    return own_images.halves(fit(images, spec.image_shape), settings)[1]


# --- One model in an owner's place ----------------------------------------------------------------


def _rows(request: Request, scene: _Scene, seed: int, name: str) -> list[FairnessRow]:
    drawn = np.random.default_rng([seed, 2]).permutation(len(scene.cohort.rans))[: request.tries]
    puts = [_put(scene, seed, name, int(at)) for at in drawn]
    return [_row(scene, puts, named) for named in _named(seed, name)]


def _put(scene: _Scene, seed: int, name: str, at: int) -> _Put:
    cohort = scene.cohort
    pooled = pictures(thieves.some(joined(cohort.parts.train), seed))
    means = Means(
        cohort.rans[at], pictures(cohort.parts.train[at]), pooled, scene.public, scene.settings
    )
    model = thieves.thief(name, means)
    errors, on_probes, owns = cohort.errors.copy(), scene.on_probes.copy(), list(scene.own)
    errors[:, at] = model.errors(cohort.features)
    on_probes[at] = model.errors(scene.probes).mean()
    owns[at] = model.errors(scene.held_out[at])
    honest = [number for number in range(len(owns)) if name == NONE or number != at]
    return _Put(at, model, honest, errors, owns, on_probes)


def _row(scene: _Scene, puts: Sequence[_Put], named: Raw) -> FairnessRow:
    found = [_stolen(scene, put, named["calibration"]) for put in puts]
    refused = [_audits(put)[put.at] < _SHARE for put in puts]
    honest = [_audits(put)[put.honest] < _SHARE for put in puts]
    return FairnessRow(
        **named,
        owners=len(scene.cohort.rans),
        tries=len(puts),
        components=puts[0].model.components,
        admitted=puts[0].model.admitted,
        steal_rate=_mean([each.steal_rate for each in found]),
        macro_recall=_mean([each.macro_recall for each in found]),
        win_rates=WinRates(
            most_won_over_asked=_mean([each.most_won for each in found]),
            least_won_over_asked=_mean([each.least_won for each in found]),
            thief_won_over_asked=_mean([each.thief_won for each in found]),
        ),
        audit_ratio=_mean([_audits(put)[put.at] for put in puts]),
        audit_refused=all(refused),
        audit_refused_share=_mean(refused),
        audit_refused_honest=float(np.concatenate(honest).mean()),
    )


@dataclass(frozen=True)
class _Stolen:
    """What one thief wins; *_won are images won over images asked about."""

    steal_rate: float
    macro_recall: float
    most_won: float
    least_won: float
    thief_won: float


def _stolen(scene: _Scene, put: _Put, how: str) -> _Stolen:
    parts = scene.cohort.parts
    truth = parts.labels
    answers = calibrated(put.errors, put.own, how).argmin(axis=1)
    found = identify_figures.figures(truth, answers, parts.owners)
    count = len(parts.owners)
    asked = np.bincount(truth, minlength=count)
    won = np.bincount(answers, minlength=count) / np.maximum(asked, 1)
    honest = won[put.honest]
    return _Stolen(
        float((answers == put.at)[truth != put.at].mean()),
        found.macro_recall,
        float(honest.max()),
        float(honest.min()),
        float(won[put.at]),
    )


def calibrated(errors: Errors, own: Sequence[Errors], how: str) -> Errors:
    """Scores (n, owners), the least of which wins, from errors on what is asked.

    own: for each owner, errors on images that the owner held out. how: one of CALIBRATIONS.
    """
    means = np.array([each.mean() for each in own])
    # A model that reconstructs everything has no error of its own to divide by.
    least = float(np.finfo(np.float32).tiny)
    scores: Errors = errors
    if how == "ratio":
        scores = errors / np.maximum(means, least)
    elif how == "quantile":
        bounds = np.array([np.quantile(each, _QUANTILE) for each in own])
        scores = errors / np.maximum(bounds, least)
    elif how == "z":
        deviations = np.array([each.std() for each in own])
        floor = np.maximum(_LEAST_DEVIATION * np.abs(means), least)
        scores = (errors - means) / np.maximum(deviations, floor)
    return scores


def _audits(put: _Put) -> Errors:
    """Every model's mean error on public images, over the cohort's median."""
    ratios: Errors = put.on_probes / np.median(put.on_probes)
    return ratios


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
