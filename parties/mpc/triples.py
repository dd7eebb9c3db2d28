"""Products of two secrets by Beaver's triples: one party's part, in lockstep with the other's.

    1. open D = x - a and E = y - b, both in one exchange
    2. z_i = c_i + D (op) b_i + a_i (op) E, and party 0 adds D (op) E

a, b and c = a (op) b are the dealer's (tuples.py, convolution_product.py). D and E are uniform,
because a and b are and are used here only. Then z_0 + z_1 = (D + a) (op) (E + b) = x (op) y,
exactly in the ring, because every (op) here is linear in both factors
(docs/explanation/references.md#beaver-triples).
"""

import torch

from parties.mpc.convolution_product import ConvolutionProduct
from parties.mpc.session import Session
from parties.mpc.tuples import Product, Square


def product(
    session: Session, kind: Product | ConvolutionProduct, x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    """Shares of x (op) y from shares of x and y, int64 of the shapes `kind.left` and `kind.right`.

    Scales add. One round, 8 bytes for each element of x and y.
    """
    shares = session.tuples.draw(kind)
    (a, b), (c,) = shares.free, shares.derived
    # 1. Both openings in one exchange.
    mine = torch.cat([(x - a).reshape(-1), (y - b).reshape(-1)])
    opened = session.exchange(mine).add_(mine)
    first, second = opened.split_with_sizes([x.numel(), y.numel()])
    first, second = first.view(x.shape), second.view(y.shape)
    # 2. Local. Party 0 adds D (op) E, by D (op) (b_0 + E).
    factor = b + second if session.party == 0 else b
    return (c + kind.apply(first, factor)).add_(kind.apply(a, second))


def squared(session: Session, x: torch.Tensor) -> torch.Tensor:
    """Shares of x * x from shares of x, int64 of any shape; the scale doubles. One round."""
    shares = session.tuples.draw(Square(tuple(x.shape)))
    (r,), (square,) = shares.free, shares.derived
    # Open d = x - r, uniform under r; x^2 = r^2 + 2 d r + d^2.
    mine = (x - r).reshape(-1)
    opened = session.exchange(mine).add_(mine).view(x.shape)
    result = square + 2 * opened * r
    if session.party == 0:
        result += opened * opened
    return result
