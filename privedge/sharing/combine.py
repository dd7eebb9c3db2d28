"""Combine two shares: the inverse of split.py, in a file of its own. Parties may import neither."""

from privedge.errors import ShareError
from privedge.sharing.ring import Words


def combine(share_0: Words, share_1: Words) -> Words:
    """Return x = [x]_0 + [x]_1 (mod 2^64), uint64 of any shape.

    Raises ShareError if the shapes differ.
    """
    if share_0.shape != share_1.shape:
        raise ShareError(f"shares of different shape: {share_0.shape} and {share_1.shape}")
    return share_0 + share_1
