"""The check of a new model, in the clear: what the parties will find on shares, and the band.

Sees a plaintext model, or public pictures: for one's own device only. docs/protocol.md#model-check.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from privedge.arrays import Features
from privedge.errors import ConfigError, ImageError
from privedge.progress import Progress
from privedge.ran import features
from privedge.ran.inputs import Opened
from privedge.ran.model_bounds import Band, gram_slack, most_energy
from privedge.ran.probes import MAX_ASKED, MAX_POOL, Probes, Rule
from privedge.ran.spec import RanSpec, Subspace
from privedge.sharing.fixed_point import LIMIT
from privedge.sharing.known import Reals
from privedge.user.asking import errors_of
from privedge.user.checkpoint import Ran
from privedge.user.fitting import fit_ran
from privedge.user.people import features_of, inputs_of
from privedge.user.settings import TrainSettings

log = logging.getLogger(__name__)

# Fewer say too little of how much sound models differ.
LEAST_PEOPLE = 8
# A model whose components leave out all directions of a few probes can fit everything else.
FEW_PROBES = 64
# The band reaches so many standard deviations of the logarithm below the median, and so many times
# as far above it: honest models differ more to that side, and what reconstructs little wins little.
DEVIATIONS, FARTHER_ABOVE = 2.25, 4
# Probes that a model may win: honest ones win all pictures of a person who looks like their owner.
MARGIN, MOST_WON = 0.7, 0.05

# The number of a person in a pool, or that of none.
Whose = npt.NDArray[np.int64]
NOBODY = -1


@dataclass(frozen=True)
class Choice:
    """How strict the check of new models is.

    Attributes:
        deviations: how far the band reaches below the median, in standard deviations of the
            logarithm.
        margin: the cohort's: a model wins a probe if its error is below so much of the least of the
            public people.
        most_won: the share of the probes that a model may win.
        asked: how many are drawn for a check; as many as there are, if these are fewer.
    """

    deviations: float = DEVIATIONS
    margin: float = MARGIN
    most_won: float = MOST_WON
    asked: int = MAX_ASKED


CHOICE = Choice()


@dataclass(frozen=True)
class Found:
    """Probes and their rule, and what it was chosen from.

    Attributes:
        probes: the pool.
        ratios: each person's errors over the usual ones, in order of name.
        won: the share of the probes that each person's model wins among the others.
    """

    probes: Probes
    ratios: Reals
    won: Reals


def make(
    people: Mapping[str, Opened],
    pictures: Sequence[Opened],
    settings: TrainSettings,
    spec: RanSpec,
    progress: Progress,
    choice: Choice = CHOICE,
) -> Found:
    """Make a pool of probes, and its rule from models of public people.

    The pool is the people's pictures, and the other ones.

    people: in place of owners, each with as many pictures as owners have. Neither they nor the
    pictures may be of owners. The same input, seed and spec give the same file.

    Warns of fewer than FEW_PROBES for subspaces; networks in layers are slow with many. Raises
    ConfigError for fewer than LEAST_PEOPLE, and where one of them wins more than a model may;
    ImageError and TrainingError.
    """
    if len(people) < LEAST_PEOPLE:
        raise ConfigError(f"people: {len(people)} say too little; give {LEAST_PEOPLE} or more")
    files, largest = settings.files, settings.largest_face
    parts, rans = [], []
    for number, given in enumerate(people.values()):
        progress("train", number, len(people))
        inputs: Any = inputs_of(given, spec, files, largest_face=largest)  # pictures or vectors
        rans.append(fit_ran(inputs, spec, settings, f"person-{number}"))
        parts.append(features.extract(spec, inputs, encoder=files.encoder))
    progress("train", len(people), len(people))
    parts += [features_of(each, spec, files, largest_face=largest) for each in pictures]
    rows, whose = _pool(parts, len(people), spec, settings.seed)
    if spec.components is not None and len(rows) < FEW_PROBES:
        log.warning(
            "only %d different probes: a hostile model can be made to avoid them; give %d or more "
            "pictures of public people, or further public ones",
            *(len(rows), FEW_PROBES),
        )
    errors = np.array([errors_of(ran, rows) for ran in rans])
    rule, ratios, won = rule_of(errors, whose, choice)
    if won.max() > choice.most_won:
        name = list(people)[int(won.argmax())]
        raise ConfigError(
            f"people: a model of {name} would be named on {won.max():.1%} of the probes, and an "
            f"owner's may be on {choice.most_won:.1%}; give more people, or allow more"
        )
    return Found(Probes.of(rows, rule, spec), ratios, won)


def _pool(
    parts: Sequence[Features], people: int, spec: RanSpec, seed: int
) -> tuple[Features, Whose]:
    """At most MAX_POOL rows, each once; and whose each is. The first parts are the people's."""
    numbers = [at if at < people else NOBODY for at in range(len(parts))]
    whose = np.repeat(numbers, [len(part) for part in parts])
    flat = np.concatenate(parts).reshape(len(whose), -1)
    _, once = np.unique(flat, axis=0, return_index=True)
    chosen = np.sort(np.random.default_rng(seed).permutation(once)[:MAX_POOL])
    return flat[chosen].reshape(-1, *spec.input_shape), whose[chosen]


def rule_of(errors: Reals, whose: Whose, choice: Choice) -> tuple[Rule, Reals, Reals]:
    """Choose what errors on probes may be, from those of public people, float64 (people, probes).

    whose: the number of the person whose picture a probe is, or NOBODY. Of those the other people's
    models say what is usual, and what is won.

    Returns it, and `ratios` and `won` of Found. Raises ImageError if the people reconstruct all.
    """
    known = np.where(np.arange(len(errors))[:, None] == whose, np.nan, errors)
    usual: Reals = np.nanmedian(known, axis=0)
    sums = np.nansum(known, axis=1)
    if sums.min() <= 0 or usual.sum() <= 0:
        raise ImageError("probes: a person's model reconstructs all of them; give other pictures")
    ratios = sums / np.nansum(np.where(np.isnan(known), np.nan, usual), axis=1)
    middle = float(np.median(ratios))
    reach = float(np.exp(choice.deviations * np.log(ratios / middle).std(ddof=1)))
    # Of each person the least error of the others: the two least tell for all.
    least, second = np.sort(known, axis=0)[:2]  # NaN last
    others = np.where(known == least, second, least)
    won = (known < choice.margin * others).sum(axis=1) / (~np.isnan(known)).sum(axis=1)
    rule = Rule(
        usual,
        choice.margin * least,
        Band(middle / reach, middle * reach**FARTHER_ABOVE),
        choice.most_won,
        min(choice.asked, errors.shape[1]),
    )
    return rule, ratios, won


def faults(ran: Ran, probes: Probes | None) -> list[str]:
    """Say each reason for which the parties would refuse a model; none if they would take it.

    The parties compute in steps of 2^-16, so a value at the very edge may be judged otherwise.
    """
    found = [
        line
        for index, layer in enumerate(ran.spec.layers)
        if isinstance(layer, Subspace)
        for line in _of_subspace(ran, index)
    ]
    if not 0 < float(ran.parameters["threshold"][0]) < LIMIT:
        found.append(f"its threshold must be above 0 and below {LIMIT:g}")
    if probes is not None:
        found += _on_probes(errors_of(ran, probes.rows), probes)
    return found


def _on_probes(errors: Reals, probes: Probes) -> list[str]:
    """Faults of errors on the whole pool. The parties ask some of it."""
    lines, bounds = [], probes.bounds()
    error, band = float(errors.mean()), bounds.band
    if not band.least < error < band.most:
        word = "too little" if error <= band.least else "too much"
        lines.append(
            f"its mean error on the public probes, {error:.4g}, is {word}: the band is "
            f"{band.least:.4g} to {band.most:.4g}"
        )
    won = bounds.won(errors)
    if won > bounds.most_won:
        lines.append(
            f"it would be named on {won} of the {len(errors)} public probes, which are of nobody: "
            f"at most {bounds.most_won} may be"
        )
    return lines


def _of_subspace(ran: Ran, index: int) -> list[str]:
    basis = ran.parameters[f"{index}.basis"].astype(np.float64)
    mean = ran.parameters[f"{index}.mean"].astype(np.float64)
    slack, lines = gram_slack(len(basis)), []
    products = basis @ basis.T
    lengths = np.diag(products)
    if (lengths >= 1 + slack).any() or (np.abs(products - np.diag(lengths)) >= slack).any():
        lines.append(f"the rows of {index}.basis are not orthonormal, nor shorter")
    if (energy := float(np.square(mean).sum())) >= most_energy(ran.spec):
        lines.append(f"{index}.mean is too long: {energy:.4g}, not below {most_energy(ran.spec):g}")
    return lines
