"""Refuse strangers and public rivals that are the owners' own pictures or vectors.

A margin that keeps an owner's own pictures out names nobody, and a figure of such "strangers" says
nothing. Found are equal samples; whether others show the same people cannot be seen here.
"""

import hashlib
from collections.abc import Iterable

import numpy as np

from privedge.arrays import Features, Inputs, is_pixels
from privedge.errors import ConfigError
from privedge.ran.rivals import Rivals
from privedge.sharing.known import to_rivals

# Squared distance over squared length. Rivals are rounded to 16 binary digits after the point.
_EQUAL = 1e-6


def require_strangers(own: Iterable[Inputs], strangers: Iterable[Inputs]) -> None:
    """Raise ConfigError if any of `strangers` is among `own`, bit for bit.

    Both are as training gets them: pictures at the size of the spec, (n, H, W[, 3]), or vectors.
    """
    known = {digest for part in own for digest in _digests(part)}
    others = list(strangers)
    count = sum(digest in known for part in others for digest in _digests(part))
    if count:
        what = "pictures" if is_pixels(others[0]) else "vectors"
        raise ConfigError(
            f"strangers: {count} of {sum(map(len, others))} {what} are the owners' own too; give "
            f"{what} of other people"
        )


def require_public(own: Features, rivals: Rivals | None) -> None:
    """Raise ConfigError if any row of `own`, (n, *input_shape), is a rival too."""
    if rivals is None or not len(own):
        return
    lengths = np.square(own.reshape(len(own), -1), dtype=np.float64).sum(axis=1, keepdims=True)
    same = (to_rivals(own, rivals.rows) <= _EQUAL * lengths).any(axis=0)
    if same.any():
        raise ConfigError(
            f"rivals: {int(same.sum())} of {len(rivals)} are the owners' own too; make them of "
            "people who are no owners"
        )


def _digests(inputs: Inputs) -> Iterable[bytes]:
    for each in inputs:
        yield hashlib.sha256(each.tobytes()).digest()
