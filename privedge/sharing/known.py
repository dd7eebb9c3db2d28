"""The rule for "unknown" in the clear: what the parties compute on shares, on plain errors.

    known = best < margin * reference
    reference = least of the second-best error and the errors of all public rivals
                with a mean_share, and without rivals:
                (1 - mean_share) * second best + mean_share * mean of all owners

An owner's own threshold is not part of it. docs/protocol.md#decision has the rule in whole numbers.
"""

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]

# The parties count the margin in so many steps.
MARGIN_STEPS = 1 << 10
# Errors of nothing at all divide nothing by nothing.
_TINY = 1e-12


def ratios(errors: Reals, rivals: Reals | None = None) -> Reals:
    """Return best error / reference of each image, (n,): it is known if this is below the margin.

    errors: of every owner's model, (n, owners). rivals: of the public rivals, (n, rivals).

    One owner without rivals has no reference: its ratio is 0, and everybody is known.
    """
    least = errors.min(axis=1)
    others = [np.partition(errors, 1, axis=1)[:, 1:2]] if errors.shape[1] > 1 else []
    others += [rivals] if rivals is not None and rivals.shape[1] else []
    if not others:
        return np.zeros(len(errors))
    reference = np.concatenate(others, axis=1).min(axis=1)
    found: Reals = least / np.maximum(reference, _TINY)
    return found


def to_rivals(features: npt.NDArray[np.float32], rows: npt.NDArray[np.float32]) -> Reals:
    """Return the error of each image to each public rival, (n, rivals)."""
    x = features.reshape(len(features), -1).astype(np.float64)
    c = rows.reshape(len(rows), -1).astype(np.float64)
    squares = np.square(x).sum(1)[:, None] + np.square(c).sum(1)[None] - 2 * x @ c.T
    found: Reals = np.maximum(squares, 0)
    return found


def in_steps(margin: float) -> float:
    """Return the largest margin of whole steps that is not above this one."""
    return int(np.floor(margin * MARGIN_STEPS)) / MARGIN_STEPS


def never_unknown(margin: float, owners: int, rivals: int) -> str:
    """Say why a cohort never answers "unknown"; empty if it may.

    A model may still have a threshold of its own, which only its owner knows.
    """
    if rivals or not owners:
        return ""
    if owners == 1:
        return "it has one owner and no public rivals"
    return "its margin is 1" if round(margin * MARGIN_STEPS) >= MARGIN_STEPS else ""
