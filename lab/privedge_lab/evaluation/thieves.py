"""Models that want to win every question, and the calibrations and the audit that might stop them.

A thief takes the place of one owner's model. What it reconstructs well it wins: nothing in the
argmin of reconstruction errors asks whether a model knows its owner's images only.

none        the owner's honest model
identity    reconstructs everything: as many components as there are values
wide2, 4    the owner's own images, but two or four times the components
pooled      the preset's shape, trained on images of all owners
public      the preset's shape, trained on varied images that anybody has
stretched   the honest model with a basis eight times too long. The private score of a subspace
            takes orthonormal rows for granted (mpc/network.py), so that this one's is below zero

The parties refuse what is not of the cohort's architecture, and see nothing else of a model. Sees
everything in plaintext, as does whoever runs an experiment.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from privedge.arrays import Features, Inputs, Pixels
from privedge.errors import ConfigError
from privedge.ran.images import fit
from privedge.ran.spec import ImageShape, RanSpec, Subspace
from privedge.user.checkpoint import Ran
from privedge.user.fitting import fit_ran
from privedge.user.settings import TrainSettings
from privedge_lab.evaluation import identify_engines
from privedge_lab.evaluation.identify_figures import Errors

NONE = "none"
THIEVES = ("identity", "wide2", "wide4", "pooled", "public", "stretched")
# These need components to have more of, or a score that takes orthonormal rows for granted.
_OF_SUBSPACES = ("wide2", "wide4", "stretched")

_STRETCH = 8
# Of everybody's images a thief learns from at most so many; more change little and take long.
_LEARNT = 1500


@dataclass(frozen=True)
class Model:
    """What competes in an owner's place: `errors` float64 (n,) of features (n, *input_shape).

    components   of a subspace, else None
    admitted     a cohort whose honest models have the preset's spec takes it
    """

    components: int | None
    admitted: bool
    errors: Callable[[Features], Errors] = field(repr=False)


@dataclass(frozen=True)
class Means:
    """What a thief has to work with: its owner's place in the cohort, and further images.

    honest   the owner's own model, trained with `settings` on `own`
    """

    honest: Ran
    own: Pixels = field(repr=False)
    pooled: Pixels = field(repr=False)
    public: Pixels = field(repr=False)
    settings: TrainSettings


def chosen(names: Sequence[str] | None, spec: RanSpec) -> tuple[str, ...]:
    """`names`, or all that a cohort of this spec can have. Raises ConfigError for one it cannot."""
    possible = [name for name in THIEVES if spec.components or name not in _OF_SUBSPACES]
    for name in names or ():
        if name not in possible:
            known = ", ".join(possible)
            raise ConfigError(f"thief {name!r}: preset {spec.name} can have {known}, none")
    return tuple(possible if names is None else names)


def honest(ran: Ran) -> Model:
    """An owner's model as it is."""
    return _trained(ran, ran.spec)


def thief(name: str, means: Means) -> Model:
    """The thief called `name`, of THIEVES or NONE; see above."""
    spec = means.honest.spec
    if name == NONE:
        return honest(means.honest)
    if name == "identity":
        values = int(np.prod(spec.input_shape)) if spec.components else None
        return Model(values, admitted=False, errors=lambda given: np.zeros(len(given)))
    if name == "stretched":
        return _stretched(means.honest)
    if name.startswith("wide"):
        return _trained_on(means.own, _widened(spec, int(name.removeprefix("wide"))), means)
    return _trained_on(means.pooled if name == "pooled" else means.public, spec, means)


def varied(shape: ImageShape, count: int, seed: int) -> Pixels:
    """uint8 (count, H, W) or (count, H, W, 3) of noise whose power falls as that of photographs.

    What an operator has who has no public images at hand.
    """
    rng = np.random.default_rng([seed, 1])
    rows = np.fft.fftfreq(shape.height)[:, None] * shape.height
    columns = np.fft.rfftfreq(shape.width)[None] * shape.width
    falls = np.maximum(np.hypot(rows, columns), 1)
    noise = rng.normal(size=(count, shape.channels, shape.height, shape.width))
    made = np.fft.irfft2(np.fft.rfft2(noise) / falls, s=(shape.height, shape.width))
    made -= made.min(axis=(2, 3), keepdims=True)
    made *= 255 / made.max(axis=(2, 3), keepdims=True)
    images = np.rint(made).astype(np.uint8)
    return np.ascontiguousarray(
        images[:, 0] if shape.channels == 1 else images.transpose(0, 2, 3, 1)
    )


def some(images: Inputs, seed: int, count: int = _LEARNT) -> Inputs:
    """At most `count` of the images or vectors, drawn by `seed`."""
    drawn = np.random.default_rng(seed).permutation(len(images))[:count]
    return images[np.sort(drawn)]


def _trained_on(images: Pixels, spec: RanSpec, means: Means) -> Model:
    ran = fit_ran(fit(images, spec.image_shape), spec, means.settings, means.honest.owner)
    return _trained(ran, means.honest.spec)


def _trained(ran: Ran, expected: RanSpec) -> Model:
    return Model(
        ran.spec.components,
        admitted=ran.spec.digest() == expected.digest(),
        errors=lambda given: identify_engines.errors_of(ran, given),
    )


def _widened(spec: RanSpec, times: int) -> RanSpec:
    components = (spec.components or 0) * times
    most = int(np.prod(spec.input_shape)) - 1
    return spec.model_copy(update={"layers": (Subspace(components=min(components, most)),)})


def stretched(ran: Ran) -> Ran:
    """The same with every row of the basis eight times as long: of the cohort's architecture."""
    basis = ran.parameters["0.basis"] * np.float32(_STRETCH)
    return replace(ran, parameters={**ran.parameters, "0.basis": basis})


def _stretched(ran: Ran) -> Model:
    longer = stretched(ran).parameters

    def errors(given: Features) -> Errors:
        """As the parties compute them: |x - m|^2 - |V(x - m)|^2."""
        around = given.reshape(len(given), -1).astype(np.float64) - longer["0.mean"]
        kept = around @ longer["0.basis"].T.astype(np.float64)
        whole: Errors = np.square(around).sum(axis=1) - np.square(kept).sum(axis=1)
        return whole

    return Model(ran.spec.components, admitted=True, errors=errors)
