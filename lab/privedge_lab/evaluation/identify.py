"""Identification measured: whose image is it, asked of one-class models that never saw each other.

    1. deal the set out among owners (identify_parts.py)
    2. every owner trains a RAN on the owner's own images, as `privedge train` does
    3. ask all of them about images that nobody trained on (identify_engines.py)
    4. the baselines on the very same images (identify_baselines.py), and figures

One row a seed, stored as soon as it is there. Sees everything in plaintext: it plays all roles.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from privedge.arrays import Features, Inputs, Labels, is_pixels
from privedge.errors import ConfigError
from privedge.progress import Progress
from privedge.ran import rivals
from privedge.ran.rivals import Rivals
from privedge.ran.spec import RanSpec
from privedge.sharing import known as sharing_known
from privedge.user import overlap
from privedge_lab import datasets
from privedge_lab.evaluation import (
    identify_baselines,
    identify_engines,
    identify_figures,
    strangers,
)
from privedge_lab.evaluation.cohort import (
    Cohort,
    Task,
    Training,
    features_of,
    fitted,
    known,
    settings_of,
    spec_of,
    train_cohort,
)
from privedge_lab.evaluation.identify_engines import ENGINES, Asked
from privedge_lab.evaluation.identify_figures import Errors
from privedge_lab.evaluation.identify_parts import Parts, deal, inputs_of
from privedge_lab.results.rows.identify import Agreement, IdentifyRow, Rate, Strangers, Voting
from privedge_lab.results.rows.values import Raw
from privedge_lab.results.store import Results

EXPERIMENT = "identify"
_NOBODY = Strangers.read({})


@dataclass(frozen=True)
class Request(Task):
    """A task, and how it is asked.

    engine       whose answers the figures are of; `fused` is asked `queries` images only
    queries      images that engines are compared on
    words        vote over so many images of one page; 0 for no vote
    margin       of a cohort, whose FAR and TAR are measured; None measures none
    strangers    the set whose images are strangers'; None takes those of half of the owners
    rivals       a file of public rivals of the cohort; None for none
    """

    engine: str = ENGINES[0]
    queries: int = 100
    words: int = 0
    margin: float | None = None
    strangers: Path | None = None
    rivals: Path | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        super().__post_init__()
        if self.engine not in ENGINES:
            raise ConfigError(
                f"engine {self.engine!r} is unknown; choose from {', '.join(ENGINES)}"
            )
        if self.words and self.choice.group is None:
            raise ConfigError("words: needs --group, the fact that says which page an image is of")
        if self.choice.owners == 1 and None in (self.rivals, self.strangers):
            raise ConfigError(
                "owners: one alone has nobody to compare with, and nobody else is "
                "asked; give --rivals and --strangers"
            )
        if self.margin is not None and not 0 < self.margin <= 1:
            raise ConfigError(f"margin: more than 0 and at most 1, not {self.margin}")

    def settings(self) -> Raw:
        """As a Task's; results from before have no margin, strangers or rivals."""
        found = super().settings()
        if self.margin is None:
            del found["margin"]
        for name in ("strangers", "rivals"):
            path = found.pop(name)
            found |= {} if path is None else {f"{name}_sha256": datasets.digest(path)}
        return found


def measure(  # noqa: PLR0913 - what is measured, and where it goes
    request: Request,
    data: datasets.Labelled,
    seeds: Sequence[int],
    results: Results,
    progress: Progress,
    training: Training | None = None,
    strangers: datasets.Labelled | None = None,
) -> Iterator[IdentifyRow]:
    """One row for each of `seeds`; those that `results` has already are not measured again.

    With `training`, each seed's models are in a folder of its own in `training.folder` until its
    row is stored, and stay there if they are to be kept. `strangers`: the set of that name.

    Raises ConfigError or ImageError for a set that cannot be dealt out like this, TrainingError
    for an owner with too few images, and with engine `fused` whatever a party refuses.
    """
    for seed in seeds:
        row = results.row(IdentifyRow, {"seed": seed})
        if row is None:
            own = training and replace(training, folder=training.folder / f"seed-{seed}")
            row = _row(request, (data, strangers), seed, progress, own)
            results.add(row.to_json())
            if own is not None and not own.keep:
                _remove(own.folder)
        yield row


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # there are other seeds' models beside
        folder.parent.rmdir()


def _row(
    request: Request,
    sets: tuple[datasets.Labelled, datasets.Labelled | None],
    seed: int,
    progress: Progress,
    training: Training | None,
) -> IdentifyRow:
    started = perf_counter()
    data = sets[0]
    parts = deal(data, replace(request.choice, seed=seed))
    spec = spec_of(request, parts)
    others = _strangers(parts, spec, sets[1])
    cohort = train_cohort(parts, spec, settings_of(request, spec, seed), progress, training)
    trained = perf_counter()
    answers, asked, agreement = _answers(request, cohort, progress)
    answered = perf_counter()
    baselines = identify_baselines.learnt(request.baselines, parts, spec, seed, progress, training)
    halves = known(cohort, seed)
    told_apart = _told_apart(request, cohort, others, seed) or _NOBODY
    figures = identify_figures.figures(parts.labels[: len(answers)], answers, parts.owners)
    scores = identify_baselines.scores(baselines, parts.images, parts.labels, parts.owners)
    return IdentifyRow(
        seed=seed,
        preset=spec.name,
        owners=len(parts.owners),
        trained_on=sum(map(len, parts.train)),
        asked=len(answers),
        **vars(figures),
        top3=identify_figures.top(cohort.errors, parts.labels),
        auroc_known=halves.auroc_known,
        known=halves,
        tar_at_far_01=_share(told_apart.tar_at_far_01),
        tar_at_far_001=_share(told_apart.tar_at_far_001),
        far_at_margin=_share(told_apart.far_at_margin),
        strangers=None if told_apart is _NOBODY else told_apart,
        voting=_voted(request, cohort),
        agreement=agreement,
        baselines=scores,
        bytes_per_query=asked.bytes_per_query if asked else None,
        seconds_per_query=float(np.median(asked.seconds)) if asked else None,
        seconds_training=trained - started,
        seconds_asking=answered - trained,
        seconds=perf_counter() - started,
    )


def _strangers(parts: Parts, spec: RanSpec, others: datasets.Labelled | None) -> Inputs | None:
    """What strangers are asked about. Raises ConfigError for what owners have, or another kind."""
    if others is None:
        return None
    asked = inputs_of(others)
    if is_pixels(asked) != (spec.image is not None):
        raise ConfigError("strangers: pictures and vectors are not compared; give what owners have")
    own = (fitted(each, spec) for each in (*parts.train, parts.images))
    overlap.require_strangers(own, [fitted(asked, spec)])
    return asked


def _told_apart(
    request: Request, cohort: Cohort, others: Inputs | None, seed: int
) -> Strangers | None:
    """How owners and strangers are told apart. Raises ConfigError for rivals that do not fit."""
    spec, truth = cohort.rans[0].spec, cohort.parts.labels
    public = None if request.rivals is None else rivals.read(request.rivals, spec)
    overlap.require_public(cohort.features, public)
    own = _asked(cohort.errors, cohort.features, public)
    if others is None:
        return strangers.of_half(own, truth, request.margin, seed)
    given = features_of(spec, others, request.files)
    errors = np.stack([identify_engines.errors_of(ran, given) for ran in cohort.rans], axis=1)
    return strangers.of_set(own, truth, _asked(errors, given, public), request.margin)


def _asked(errors: Errors, given: Features, public: Rivals | None) -> strangers.Asked:
    to_rivals = None if public is None else sharing_known.to_rivals(given, public.rows)
    return strangers.Asked(errors, to_rivals)


def _share(rate: Rate | None) -> float | None:
    return None if rate is None else rate.share


def _answers(
    request: Request, cohort: Cohort, progress: Progress
) -> tuple[Labels, Asked | None, Agreement]:
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
    images = cohort.parts.images[few]
    asked = identify_engines.fused(rans, images, progress, files=request.files)
    agreement = _agreement(
        len(clear),
        fixed_plain=clear == plain[few],
        fused_fixed=(asked.answers == clear),
        fused_fixed_outside_ties=(asked.answers == clear) | ties,
    )
    return asked.answers, asked, replace(agreement, ties=int(ties.sum()))


def _agreement(queries: int, **same: Any) -> Agreement:
    return Agreement(
        **{name: float(values.mean()) for name, values in same.items()}, queries=queries
    )


def _voted(request: Request, cohort: Cohort) -> Voting | None:
    if not request.words:
        return None
    parts = cohort.parts
    errors, truth = identify_figures.voted(cohort.errors, parts.labels, parts.pages, request.words)
    if not len(truth):
        raise ConfigError(f"words: no page has {request.words} images to ask")
    found = identify_figures.figures(truth, errors.argmin(axis=1), parts.owners)
    return Voting(
        asked=len(truth),
        macro_precision=found.macro_precision,
        macro_recall=found.macro_recall,
        accuracy=found.accuracy,
    )
