"""engine = "crypten": the reference engine, on CrypTen's shares and protocols.

Numbers are ArithmeticSharedTensors with an encoder of scale 1. So CrypTen sees ring integers and
never truncates by itself; network.py keeps the scales. Truncation is ours, with the dealer's help
(docs/protocol.md#truncation), because CrypTen's two-party truncation fails with probability
|x| / 2^64.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from parties.mpc.crypten_backend.install import install
from parties.mpc.crypten_backend.load import (
    ArithmeticSharedTensor,
    MPCTensor,
    beaver,
    sign_by_circuit,
)
from parties.mpc.crypten_backend.running import running
from parties.mpc.engine import Weight
from parties.mpc.session import Session
from parties.mpc.tuples import Truncation, logical_shift
from parties.mpc.widening import widened
from parties.mpc.window import Window
from privedge.sharing.fixed_point import FRACTIONAL_BITS

Share = Any  # ArithmeticSharedTensor; CrypTen is untyped

# Added to a number before its truncation, so that it is not negative.
_OFFSET = 1 << 62


class CryptenEngine:
    """mpc.engine.Engine over secret shares. A thread may use one at a time."""

    # Whether a product with a weight uses a mask that is drawn once.
    fixes_weights = False

    def __init__(self, session: Session) -> None:
        install()
        running.session, running.engine = session, self
        self._session = session
        self._party = session.party

    def close(self) -> None:
        """Detach the session from this thread."""
        running.session = running.engine = None

    @staticmethod
    def share(words: torch.Tensor) -> Share:
        """Wrap this party's share (int64 of any shape)."""
        return ArithmeticSharedTensor.from_shares(words, precision=0)

    def scaled(self, x: Share, factor: int) -> Share:
        return self.share(x.share * factor)

    def combination(self, x: Share, matrix: torch.Tensor) -> Share:
        return self.share(x.share @ matrix)

    def plus(self, x: Share, constant: torch.Tensor) -> Share:
        return self.share(x.share + constant if self._party == 0 else x.share)

    def padded(self, x: Share, padding: tuple[int, ...], value: int = 0) -> Share:
        mine = value if self._party == 0 else 0
        return self.share(torch.nn.functional.pad(x.share, padding, value=mine))

    def joined(self, parts: list[Share], dim: int) -> Share:
        return self.share(torch.cat([part.share for part in parts], dim=dim))

    def multiply(self, x: Share, y: Share) -> Share:
        return beaver.mul(x, y)

    def product(
        self, op: str, x: torch.Tensor, y: torch.Tensor, options: dict[str, Any]
    ) -> torch.Tensor:
        """Shares of CrypTen's `op` of shares x and y, int64; `options` are torch's. One round."""
        words: torch.Tensor = getattr(beaver, op)(self.share(x), self.share(y), **options).share
        return words

    def square(self, x: Share) -> Share:
        return beaver.square(x)

    def truncated_square(self, x: Share) -> Share:
        return self.square(self.truncate(x))

    def dense(self, x: Share, weight: Weight[Share]) -> Share:
        return beaver.matmul(x, weight.number.transpose(1, 2))

    def dense_each(self, x: Share, weights: list[Weight[Share]]) -> list[Share]:
        return [self.dense(x, weight) for weight in weights]

    def dense_back(self, x: Share, weight: Weight[Share]) -> Share:
        return beaver.matmul(x, weight.number)

    def convolve(self, x: Share, weight: Weight[Share], window: Window) -> Share:
        framed = self.share(window.frame(x.share))
        batch, groups, channels, *size = framed.share.shape
        owners, out, *kernel = weight.number.share.shape
        maps = beaver.conv2d(
            framed.reshape(batch, groups * channels, *size),
            weight.number.reshape(owners * out, *kernel),
            stride=window.stride,
            groups=groups,
        )
        return maps.reshape(batch, owners, out, *maps.share.shape[2:])

    def truncate(self, x: Share, *, bits: int = FRACTIONAL_BITS) -> Share:
        """Open c = x + 2^62 + r, and subtract the high bits of r from those of c. One round."""
        # c is uniform, because r is. x + 2^62 is neither negative nor 2^63 or more.
        drawn = self._session.tuples.draw(Truncation(tuple(x.share.shape), bits))
        (r,), (high, top) = drawn.free, drawn.derived
        masked = x.share + r
        if self._party == 0:
            masked += _OFFSET
        mine = masked.reshape(-1)
        opened = self._session.exchange(mine).add_(mine).view(masked.shape)
        # Local. c = x + 2^62 + r has wrapped around if c < r, and in that range
        # [c < r] = (1 - c[63]) * r[63]. The borrow of the low bits of c - r is not corrected: it is
        # the one unit of error.
        wrapped = (1 - logical_shift(opened, 63)) * (top << (64 - bits))
        quotient = self.share(high + wrapped)
        public = logical_shift(opened, bits) - (_OFFSET >> bits)
        return self.plus(quotient, public)

    def widened(self, x: Share, *, bits: int) -> Share:
        return self.share(widened(self._session, x.share, bits=bits))

    def relu_and_value(self, x: Share) -> tuple[Share, Share]:
        value = self.truncate(x)
        positive = self.plus(-self.negative(value), torch.tensor(1))
        return self.multiply(value, positive), value

    def chosen(
        self, index: Share, values: Share, *, below: int, places: int
    ) -> tuple[Share, Share]:
        above = [self.plus(index, torch.tensor(-place)).unsqueeze(0) for place in range(places + 1)]
        less = self.negative(self.joined(above, 0))
        hot = less[1:] - less[:-1]
        if not values.size(1):
            return hot, values.unsqueeze(0).expand(places, *values.size())
        shape = (places, *values.size())
        return hot, self.multiply(hot.unsqueeze(2).expand(*shape), values.expand(*shape))

    def phase(self, name: str) -> AbstractContextManager[None]:
        return self._session.phase(name)

    def constant(self, name: str, compute: Callable[[], Share]) -> Share:
        return compute()

    def negative(self, x: Share, *, bits: int = 63) -> Share:
        # Flat, because CrypTen's circuit adds up to two dimensions and a tuple may have only six.
        flat = sign_by_circuit(MPCTensor.from_shares(x.share.reshape(-1), precision=0))._tensor
        return self.share(flat.share.reshape(x.share.shape))
