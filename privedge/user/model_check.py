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
from privedge.ran.inputs import Opened
from privedge.ran.model_bounds import Band, gram_slack, most_energy
from privedge.ran.probes import MAX_PROBES, Probes
from privedge.ran.spec import RanSpec, Subspace
from privedge.sharing.fixed_point import LIMIT
from privedge.user.asking import errors_of
from privedge.user.checkpoint import Ran
from privedge.user.fitting import fit_ran
from privedge.user.people import features_of, inputs_of
from privedge.user.settings import TrainSettings

log = logging.getLogger(__name__)

# Fewer say too little of how much sound models differ.
LEAST_PEOPLE = 8
# The band reaches so many standard deviations of the logarithm to both sides of the median.
DEVIATIONS = 4.0
# A model whose components leave out all directions of a few probes can fit everything else.
FEW_PROBES = 64


@dataclass(frozen=True)
class Found:
    """A band, and what it was chosen from: each person's mean error on the probes, over the median.

    Attributes:
        probes: the rows and the band.
        ratios: one for each person, in order of name.
    """

    probes: Probes
    ratios: npt.NDArray[np.float64]


def make(
    people: Mapping[str, Opened],
    pictures: Sequence[Opened],
    settings: TrainSettings,
    spec: RanSpec,
    progress: Progress,
    *,
    deviations: float = DEVIATIONS,
) -> Found:
    """Draw probes from public pictures, and choose the band from models of public people.

    people: in place of owners, each with as many pictures as owners have. Neither they nor the
    pictures may be of owners. The same input, seed and spec give the same file.

    Warns of fewer than FEW_PROBES for subspaces; networks in layers are slow with many. Raises
    ConfigError for fewer than LEAST_PEOPLE, ImageError and TrainingError.
    """
    if len(people) < LEAST_PEOPLE:
        raise ConfigError(f"people: {len(people)} say too little; give {LEAST_PEOPLE} or more")
    files, largest = settings.files, settings.largest_face
    rows = np.concatenate(
        [features_of(each, spec, files, largest_face=largest) for each in pictures]
    )
    rows = np.unique(rows.reshape(len(rows), -1), axis=0).reshape(-1, *spec.input_shape)
    chosen = np.sort(np.random.default_rng(settings.seed).permutation(len(rows))[:MAX_PROBES])
    if spec.components is not None and len(chosen) < FEW_PROBES:
        log.warning(
            "only %d different probes: a hostile model can be made to avoid them; give %d or more "
            "public pictures, %d are best",
            *(len(chosen), FEW_PROBES, MAX_PROBES),
        )
    errors = []
    for number, given in enumerate(people.values()):
        progress("train", number, len(people))
        inputs: Any = inputs_of(given, spec, files, largest_face=largest)  # pictures or vectors
        ran = fit_ran(inputs, spec, settings, f"person-{number}")
        errors.append(float(errors_of(ran, rows[chosen]).mean()))
    progress("train", len(people), len(people))
    return Found(*_band_of(np.array(errors), rows[chosen], spec, deviations))


def _band_of(
    errors: npt.NDArray[np.float64], rows: Features, spec: RanSpec, deviations: float
) -> tuple[Probes, npt.NDArray[np.float64]]:
    if errors.min() <= 0:
        raise ImageError("probes: a person's model reconstructs all of them; give other pictures")
    usual = float(np.median(errors))
    ratios = errors / usual
    reach = float(np.exp(deviations * np.log(ratios).std(ddof=1)))
    return Probes.of(rows, Band(usual / reach, usual * reach), spec), ratios


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
        error, band = float(errors_of(ran, probes.rows).mean()), probes.band
        if not band.least < error < band.most:
            word = "too little" if error <= band.least else "too much"
            found.append(
                f"its mean error on the public probes, {error:.4g}, is {word}: the band is "
                f"{band.least:.4g} to {band.most:.4g}"
            )
    return found


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
