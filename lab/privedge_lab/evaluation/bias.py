"""Biased training measured: owners train on few images, or on images of one kind only.

    images   k images an owner, drawn by the seed (those of a smaller k are among them); all asked
    FACT     only images with one value of a fact, such as a background or a page; asked are the
             images with any other value, and (`same`) those with that value. `mixed`: what models
             do that train on as many images of all values, asked the same two questions

One row a bias and seed, stored as soon as it is there. Sees everything in plaintext: it plays all
roles.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from privedge.errors import ConfigError
from privedge.progress import Progress
from privedge_lab.datasets import Labelled
from privedge_lab.evaluation import cohort, identify_baselines, identify_figures
from privedge_lab.evaluation.cohort import Task
from privedge_lab.evaluation.identify_parts import Parts, deal
from privedge_lab.results.rows.bias import BiasRow, Mixed, Trained
from privedge_lab.results.rows.values import Raw
from privedge_lab.results.store import Results

EXPERIMENT = "bias"
IMAGES = "images"
# For each owner, which of the owner's training images are used.
_Drawn = Sequence[npt.NDArray[Any]]
# A model of fewer images says nothing about a bias.
_LEAST_IMAGES = 3


# A model of fewer images says nothing about a bias.
_LEAST_IMAGES = 3


@dataclass(frozen=True)
class Bias:
    """`name` is IMAGES, and `value` so many an owner or None for all; or a fact and its value."""

    name: str
    value: int | None

    def __str__(self) -> str:
        return f"{self.name}={'all' if self.value is None else self.value}"


def each_value(data: Labelled, fact: str) -> list[Bias]:
    """Every value of `fact` in turn. Raises ConfigError if the set has no such fact."""
    _check(data, fact)
    return [Bias(fact, int(value)) for value in data.facts[fact].unique()]


@dataclass(frozen=True)
class Request(Task):
    """A task, and what owners train on instead of everything."""

    biases: tuple[Bias, ...] = ()

    def settings(self) -> Raw:
        """As a Task's; biases are not part of it, so that further ones can be added."""
        found = super().settings()
        del found["biases"]
        return found


def measure(
    request: Request,
    data: Labelled,
    seeds: Sequence[int],
    results: Results,
    progress: Progress,
    left_out: Callable[[Raw], None] = lambda _: None,
) -> Iterator[BiasRow]:
    """A row for each of the biases and seeds, old ones from `results`.

    `left_out` is told of a bias for which an owner has too few images, or that leaves nothing to
    ask, with the `reason`. Raises ConfigError if that is all of them, and as `identify.measure`
    does.
    """
    for bias in request.biases:
        _check(data, bias.name)
    reason, measured = None, False
    for seed in seeds:
        bench = _Bench(request, data, seed, progress)
        for bias in dict.fromkeys(request.biases):
            named = {"seed": seed, "bias": bias.name, "value": bias.value}
            refusal = bench.refusal(bias)
            if refusal is not None:
                reason = reason or f"{bias}: {refusal}"
                left_out(named | {"reason": f"{bias}: {refusal}"})
                continue
            row = results.row(BiasRow, named)
            if row is None:
                row = bench.row(bias, named)
                results.add(row.to_json())
            measured = True
            yield row
    if reason is not None and not measured:
        raise ConfigError(reason)


def _check(data: Labelled, fact: str) -> None:
    if fact not in (IMAGES, *data.facts):
        known = ", ".join(data.facts) or "none"
        raise ConfigError(f"{fact}: the set has no such fact; it has {known}")


class _Bench:
    """One seed's dealing out; trains anew for each bias."""

    def __init__(self, task: Task, data: Labelled, seed: int, progress: Progress) -> None:
        self._task, self._seed, self._progress = task, seed, progress
        self._parts = deal(data, replace(task.choice, seed=seed))
        self._orders = [
            np.random.default_rng([seed, number]).permutation(len(images))
            for number, images in enumerate(self._parts.train)
        ]

    def refusal(self, bias: Bias) -> str | None:
        """Why the bias cannot be measured, if it cannot."""
        least = _LEAST_IMAGES
        if bias.name == IMAGES and bias.value is not None:
            least = max(_LEAST_IMAGES, bias.value)
            if bias.value < _LEAST_IMAGES:
                return f"owners need at least {_LEAST_IMAGES} images to train on"
        for owner, drawn in zip(self._parts.owners, self._drawn(bias), strict=True):
            if len(drawn) < least:
                return f"{owner} has {len(drawn)} images to train on, which takes {least}"
        if not self._others(bias).any():
            return "no image is left to ask"
        return None

    def row(self, bias: Bias, named: Raw) -> BiasRow:
        """Figures of the models and baselines that train as `bias` has it."""
        drawn, others = self._drawn(bias), self._others(bias)
        baselines = self._task.baselines
        if bias.name == IMAGES:
            (found,) = self._asked(bias, drawn, [others], baselines)
            return BiasRow(**named, **_fields(found), same=None, mixed=None)
        found, same = self._asked(bias, drawn, [others, ~others], baselines)
        counts = [len(images) for images in drawn]
        as_many = [order[:count] for order, count in zip(self._orders, counts, strict=True)]
        mixed, mixed_same = self._asked(bias, as_many, [others, ~others], ())
        both = Mixed(**_fields(mixed), same=mixed_same)
        return BiasRow(**named, **_fields(found), same=same, mixed=both)

    def _drawn(self, bias: Bias) -> _Drawn:
        if bias.name == IMAGES:
            return [order[: bias.value] for order in self._orders]
        facts = self._parts.train_facts
        return [np.flatnonzero(own[bias.name] == bias.value) for own in facts]

    def _others(self, bias: Bias) -> npt.NDArray[np.bool_]:
        """Which images are asked about, besides those with the value trained on."""
        if bias.name == IMAGES:
            return np.ones(len(self._parts.labels), bool)
        others: npt.NDArray[np.bool_] = self._parts.facts[bias.name] != bias.value
        return others

    def _asked(
        self,
        bias: Bias,
        drawn: _Drawn,
        questions: Sequence[npt.NDArray[np.bool_]],
        baselines: Sequence[str],
    ) -> list[Trained | None]:
        """Figures for each of `questions`, None for one that no image is in."""
        pairs = zip(self._parts.train, drawn, strict=True)
        parts = replace(self._parts, train=tuple(images[index] for images, index in pairs))
        spec = cohort.spec_of(self._task, parts)
        settings = cohort.settings_of(self._task, spec, self._seed)

        def progress(doing: str, done: int, total: int) -> None:
            self._progress(f"{bias}: {doing}", done, total)

        models = cohort.train_cohort(parts, spec, settings, progress)
        learnt = identify_baselines.learnt(baselines, parts, spec, self._seed, progress)
        answers = models.errors.argmin(axis=1)
        return [_figures(parts, answers, learnt, asked) for asked in questions]


def _figures(
    parts: Parts,
    answers: npt.NDArray[np.int64],
    baselines: dict[str, identify_baselines.Answers],
    asked: npt.NDArray[np.bool_],
) -> Trained | None:
    if not asked.any():
        return None
    truth, owners = parts.labels[asked], parts.owners
    found = identify_figures.figures(truth, answers[asked], owners)
    return Trained(
        owners=len(owners),
        trained_on=sum(map(len, parts.train)),
        asked=len(truth),
        macro_recall=found.macro_recall,
        accuracy=found.accuracy,
        baselines=identify_baselines.scores(baselines, parts.images[asked], truth, owners),
    )


def _fields(found: Trained | None) -> Raw:
    return vars(found) if found is not None else vars(Trained.read({}))
