"""The models of one hostile owner (poisoning.py says what each is).

The owner is strong: it has the training images of all others, the whole pool of public probes and
what errors on them may be. It does not know which of them will be drawn.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from privedge.arrays import Features, Inputs
from privedge.ran.probes import Probes
from privedge.ran.spec import RanSpec
from privedge.sharing.fixed_point import encode
from privedge.sharing.known import Reals
from privedge.user.asking import errors_of
from privedge.user.checkpoint import Ran
from privedge.user.fitting import fit_ran
from privedge.user.settings import TrainSettings
from privedge_lab.evaluation import thieves
from privedge_lab.evaluation.cohort import features_of

# Of another architecture than the cohort's, so their manifest is refused.
OTHERS = ("identity", "wide")
# These leave out what probes have, as little of it as it takes to pass on the whole pool.
AVOIDING = ("tuned", "avoiding", "contrasting")
ATTACKS = (*OTHERS, "pooled", "public", "far", "zero", "stretched", "wrapping", *AVOIDING)
# What networks in layers can be.
IN_LAYERS = ("identity", "pooled", "wrapping")

_FAR = 7.9
# Weights of the probes' directions that are tried, as a share of the owners' own.
_WEIGHTS = np.geomspace(0.02, 20, 25)

Words = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Means:
    """What the hostile owner has: an honest model, the others' images, and the pool."""

    honest: Ran
    stolen: Inputs = field(repr=False)
    pool: Probes
    train: TrainSettings
    seed: int

    @property
    def spec(self) -> RanSpec:
        """The cohort's architecture."""
        return self.honest.spec


def encoded(ran: Ran) -> Words:
    """The parameters as they are shared, each with an axis of one owner."""
    return {
        name: torch.from_numpy(encode(ran.parameters[name][None]).view(np.int64))
        for name in ran.spec.parameters()
    }


def model(name: str, means: Means) -> Ran:
    """The hostile model of this name, of ATTACKS but OTHERS and "wrapping"."""
    honest = means.honest
    if name == "stretched":
        return thieves.stretched(honest)
    if name in ("far", "zero"):
        mean = _FAR if name == "far" else 0.0
        return _changed(honest, np.zeros_like(honest.parameters["0.basis"]), mean)
    if name == "public":
        rows = _flat(means.pool.rows)
        return _subspace(honest, np.cov(rows.T, bias=True), rows.mean(0))
    stolen = thieves.some(means.stolen, means.seed)
    if name in AVOIDING:
        return _passing(
            _ladder(name, _flat(features_of(means.spec, stolen, means.train.files)), means),
            means.pool,
        )
    return fit_ran(stolen, means.spec, means.train, honest.owner)


def wrapping(means: Means) -> Words:
    """Random words in place of every parameter."""
    rng = np.random.default_rng(means.seed)
    return {
        key: torch.from_numpy(rng.integers(-(1 << 63), (1 << 63) - 1, tuple(value.shape)))
        for key, value in encoded(means.honest).items()
    }


def ratio_and_won(errors: Reals, pool: Probes) -> tuple[float, float]:
    """A model's errors over the usual ones, and the share of the pool that it wins."""
    return (
        float(errors.sum() / pool.rule.usual.sum()),
        float((errors < pool.rule.limits).mean()),
    )


def _passing(ladder: Iterator[Ran], pool: Probes) -> Ran:
    """The first model that passes on the whole pool; else the last."""
    rule, last = pool.rule, next(ladder)
    for model in itertools.chain([last], ladder):
        ratio, won = ratio_and_won(errors_of(model, pool.rows), pool)
        if rule.band.least * 1.001 < ratio < rule.band.most and won <= rule.most_won:
            return model
        last = model
    return last


def _ladder(name: str, stolen: Reals, means: Means) -> Iterator[Ran]:
    """From what wins most to what wins least."""
    mean, honest = stolen.mean(0), means.honest
    probes = _flat(means.pool.rows)
    count = len(honest.parameters["0.basis"])
    own = np.cov(stolen.T, bias=True)
    if name == "tuned":
        whole = _leading(own, count)
        for left in range(count):
            basis = np.zeros_like(whole)
            basis[: count - left] = whole[left:]
            yield _changed(honest, basis, mean)
    elif name == "avoiding":
        directions = _leading(np.cov(probes.T, bias=True), len(own) - count)
        for out in sorted({0, *np.geomspace(1, len(directions), 40).astype(int)}):
            avoided = directions[:out]
            rest = (stolen - mean) - (stolen - mean) @ avoided.T @ avoided
            yield _subspace(honest, rest.T @ rest / len(rest), mean)
    else:
        theirs = (probes - mean).T @ (probes - mean) / len(probes)
        for weight in (0, *_WEIGHTS * np.trace(own) / np.trace(theirs)):
            yield _subspace(honest, own - weight * theirs, mean)


def _flat(rows: Features) -> Reals:
    found: Reals = rows.reshape(len(rows), -1).astype(np.float64)
    return found


def _leading(square: Reals, count: int) -> Reals:
    """Its `count` leading eigenvectors, as rows."""
    found: Reals = np.linalg.eigh(square)[1][:, ::-1][:, :count].T
    return found


def _subspace(like: Ran, square: Reals, mean: Reals) -> Ran:
    basis = np.zeros_like(like.parameters["0.basis"])
    found = _leading(square, len(basis))
    basis[: len(found)] = found
    return _changed(like, basis, mean)


def _changed(ran: Ran, basis: np.ndarray, mean: float | np.ndarray) -> Ran:
    parameters: Mapping[str, np.ndarray] = ran.parameters
    whole = np.broadcast_to(mean, parameters["0.mean"].shape).astype(np.float32)
    changed = {"0.basis": basis.astype(np.float32), "0.mean": whole}
    return replace(ran, parameters={**parameters, **changed})
