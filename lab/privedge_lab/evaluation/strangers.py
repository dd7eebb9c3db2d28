"""Owners named and strangers refused: TAR at FAR, and FAR at a cohort's margin.

    ratio = best error / least of the second best and the public rivals' (privedge.sharing.known)
    TAR   = share of owners' images that are named right: the best is right, and ratio < margin
    FAR   = share of strangers' images that are named

Strangers are the images of a set of their own; without one, half of the owners are registered and
the images of the others are strangers, as a mean over the halves of `identify_figures.known`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privedge.arrays import Labels
from privedge.sharing import known
from privedge.sharing.intervals import least_for, wilson
from privedge_lab.evaluation.identify_figures import Errors, halves
from privedge_lab.results.rows.identify import Rate, Strangers

_FARS = (0.01, 0.001)


@dataclass(frozen=True)
class Asked:
    """What some images were asked: errors (n, owners), and of the public rivals (n, rivals)."""

    errors: Errors
    rivals: Errors | None = None

    def of(self, images: npt.NDArray[np.bool_], owners: Labels) -> "Asked":
        """Some of the images, asked of some of the owners."""
        rivals = None if self.rivals is None else self.rivals[images]
        return Asked(self.errors[images][:, owners], rivals)

    def ratios(self) -> Errors:
        """Best error / reference, (n,)."""
        return known.ratios(self.errors, self.rivals)


def of_set(own: Asked, truth: Labels, strangers: Asked, margin: float | None) -> Strangers:
    """All owners registered, and strangers of a set of their own."""
    right = own.errors.argmin(axis=1) == truth
    return _figures(own.ratios(), right, strangers.ratios(), margin)


def of_half(own: Asked, truth: Labels, margin: float | None, seed: int) -> Strangers | None:
    """Half of the owners registered, the others strangers. None for fewer than four owners."""
    if own.errors.shape[1] < 4:
        return None
    found = []
    for half in halves(own.errors.shape[1], seed):
        registered = np.isin(truth, half)
        mine, others = own.of(registered, half), own.of(~registered, half)
        right = half[mine.errors.argmin(axis=1)] == truth[registered]
        found.append(_figures(mine.ratios(), right, others.ratios(), margin))
    return _mean(found)


def _figures(
    own: Errors, right: npt.NDArray[np.bool_], strangers: Errors, margin: float | None
) -> Strangers:
    first, second = (_tar_at(own, right, strangers, far) for far in _FARS)
    tar = far = None
    if margin is not None:
        tar = _rate(int((right & (own < margin)).sum()), len(own), margin)
        far = _rate(int((strangers < margin).sum()), len(strangers), margin)
    return Strangers(
        asked=len(own),
        strangers=len(strangers),
        tar_at_far_01=first,
        tar_at_far_001=second,
        tar_at_margin=tar,
        far_at_margin=far,
    )


def _tar_at(
    own: Errors, right: npt.NDArray[np.bool_], strangers: Errors, far: float
) -> Rate | None:
    """TAR at the largest margin at which at most `far` of the strangers are named.

    None if there are too few strangers to resolve that share.
    """
    if len(strangers) < least_for(far):
        return None
    # Named are ratios strictly below the margin, so the first that is one too many is the margin.
    limit = float(np.sort(strangers)[int(far * len(strangers) + 1e-9)])
    margin = min(1.0, limit)
    return _rate(int((right & (own < margin)).sum()), len(own), margin)


def _rate(count: int, of: int, margin: float) -> Rate:
    low, high = wilson(count, of)
    return Rate(share=count / of if of else 0.0, low=low, high=high, margin=margin)


def _mean(found: Sequence[Strangers]) -> Strangers:
    """The mean of every figure; of a rate that one does not have, none."""
    names = ("tar_at_far_01", "tar_at_far_001", "tar_at_margin", "far_at_margin")
    return Strangers(
        asked=float(np.mean([each.asked for each in found])),
        strangers=float(np.mean([each.strangers for each in found])),
        **{name: _mean_rate([getattr(each, name) for each in found]) for name in names},
    )


def _mean_rate(found: Sequence[Rate | None]) -> Rate | None:
    there = [each for each in found if each is not None]
    if len(there) < len(found):
        return None
    parts = ("share", "low", "high", "margin")
    return Rate(**{part: float(np.mean([getattr(each, part) for each in there])) for part in parts})
