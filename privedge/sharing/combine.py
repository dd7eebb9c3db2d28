"""Add two shares up again: the inverse of split.py, apart from it as parties may import neither."""

from privedge.errors import ShareError
from privedge.sharing.ring import Words


def combine(share_0: Words, share_1: Words) -> Words:
    """Return x = [x]_0 + [x]_1. Raises ShareError if the shapes differ."""
    if share_0.shape != share_1.shape:
        raise ShareError(f"shares of different shape: {share_0.shape} and {share_1.shape}")
    return share_0 + share_1
