"""engine = "crypten": products, squares and signs by CrypTen's own protocols, on words.

CrypTen sees ring integers, with an encoder of scale 1, and never truncates by itself. Truncation is
ours, with the dealer's help (docs/protocol.md#truncation), because CrypTen's two-party truncation
fails with probability |x| / 2^64.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from parties.mpc import truncation
from parties.mpc.crypten_backend.load import MPCTensor, beaver, sign_by_circuit
from parties.mpc.crypten_backend.tensors import whole
from parties.mpc.engine import Weight
from parties.mpc.products import Map
from parties.mpc.session import Session
from parties.mpc.widening import widened
from parties.mpc.window import PLAIN, Window
from privedge.errors import NotSupported
from privedge.sharing.fixed_point import FRACTIONAL_BITS


class Reference:
    """What CrypTen's operations and an Engine are carried out with, for one session.

    All numbers are this party's shares, int64, of the shapes that mpc.engine.Engine says. Results
    have the shape of x unless another one is said.
    """

    # Whether a product with a weight uses a mask that is drawn once.
    fixes_weights = False

    def __init__(self, session: Session) -> None:
        self.session = session

    def product(
        self, op: str, x: torch.Tensor, y: torch.Tensor, options: dict[str, Any]
    ) -> torch.Tensor:
        """CrypTen's `op` of x and y; `options` are torch's. One round."""
        words: torch.Tensor = getattr(beaver, op)(whole(x), whole(y), **options).share
        return words

    def products(
        self,
        kind: Map,
        x: torch.Tensor,
        weights: list[Weight[torch.Tensor]],
        window: Window = PLAIN,
    ) -> list[torch.Tensor]:
        """The map of x with each weight."""
        return [self._mapped(kind, x, weight.number, window) for weight in weights]

    def _mapped(
        self, kind: Map, x: torch.Tensor, weight: torch.Tensor, window: Window
    ) -> torch.Tensor:
        if kind != "conv":
            factor = weight.transpose(1, 2) if kind == "dense" else weight
            return self.product("matmul", x, factor, {})
        framed = window.frame(x)
        batch, groups, channels, *size = framed.shape
        owners, out, *kernel = weight.shape
        maps = self.product(
            "conv2d",
            framed.reshape(batch, groups * channels, *size),
            weight.reshape(owners * out, *kernel),
            {"stride": window.stride, "groups": groups},
        )
        return maps.reshape(batch, owners, out, *maps.shape[2:])

    def square(self, x: torch.Tensor) -> torch.Tensor:
        """Element-wise; the scale doubles. One round."""
        words: torch.Tensor = beaver.square(whole(x)).share
        return words

    def truncated_square(self, x: torch.Tensor) -> torch.Tensor:
        """The square, at 2f, of x at 2f when it is truncated."""
        return self.square(self.truncate(x))

    def truncate(self, x: torch.Tensor, *, bits: int = FRACTIONAL_BITS) -> torch.Tensor:
        """floor(x / 2^bits), or one unit more. One round."""
        return truncation.truncated(self.session, x, bits=bits)

    def round_exactly(self) -> None:
        """From now on truncation is the floor. Raises NotSupported: engine = "fused" can."""
        raise NotSupported('exact rounding needs engine = "fused"')

    def widened(self, x: torch.Tensor, *, bits: int) -> torch.Tensor:
        """As Engine.widened. One round."""
        return widened(self.session, x, bits=bits)

    def relu_and_value(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As Engine.relu_and_value."""
        value = self.truncate(x)
        negative = self.negative(value)
        positive = 1 - negative if self.session.party == 0 else -negative
        return self.product("mul", value, positive, {}), value

    def negative(self, x: torch.Tensor, *, bits: int = 63) -> torch.Tensor:
        """1 where x < 0, else 0. Exact for every ring element, if `bits` is 63."""
        # Flat, because CrypTen's circuit adds up to two dimensions and a tuple may have only six.
        flat = sign_by_circuit(MPCTensor.from_shares(x.reshape(-1), precision=0))._tensor
        return flat.share.reshape(x.shape)  # type: ignore[no-any-return]  # CrypTen is untyped

    def chosen(
        self, index: torch.Tensor, values: torch.Tensor, *, below: int, places: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As Engine.chosen."""
        steps = torch.arange(places + 1, device=index.device).unsqueeze(1)
        above = index - steps if self.session.party == 0 else index.expand(places + 1, -1)
        less = self.negative(above)
        hot = less[1:] - less[:-1]
        shape = (places, *values.shape)
        if not values.size(1):
            return hot, values.expand(shape)
        return hot, self.product("mul", hot.unsqueeze(2).expand(shape), values.expand(shape), {})

    def lesser(
        self, first: torch.Tensor, second: torch.Tensor, *, bits: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As Engine.lesser."""
        differences = second - first
        later = self.negative(differences[:, 0], bits=bits)
        factor = later.unsqueeze(1).expand(differences.shape)
        row = first + self.product("mul", factor.contiguous(), differences, {})
        return row, first[:, 0] + second[:, 0] - row[:, 0], later

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Count the exchanges inside under this name."""
        return self.session.phase(name)

    def constant(self, name: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """As Engine.constant; here it is computed for every query."""
        return compute()
