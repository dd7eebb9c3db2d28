"""Which products with fixed weights a query of a preset has.

The network of parties/mpc/network.py runs on tensors that have shapes and no values (torch's
device "meta"), with an engine that notes each product as the fused engine would ask for it. So the
rules are those of the parties, and nothing is computed.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from parties.mpc.engine import Weight
from parties.mpc.fixed_product import FixedProduct
from parties.mpc.network import Network
from parties.mpc.products import Map
from parties.mpc.window import PLAIN, Window
from privedge.ran.spec import RanSpec
from privedge_lab.reference.clear import ClearEngine


def of_query(spec: RanSpec, owners: int, images: int = 1) -> list[FixedProduct]:
    """Return the online products of a query of `images` images with `owners` models, in order.

    What only the first query of a snapshot computes is left out.
    """
    engine = _ShapesEngine()
    parameters = {name: _nothing((owners, *shape)) for name, shape in spec.parameters().items()}
    Network(spec, parameters, engine).dissimilarity(_nothing((images, *spec.input_shape)))
    return engine.products


def distinct(products: Iterable[FixedProduct]) -> list[FixedProduct]:
    """Return each map of the same shapes once, whatever its weight is called, in order."""
    return list(dict.fromkeys(replace(each, name="") for each in products))


def _nothing(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.int64, device="meta")


class _ShapesEngine(ClearEngine):
    """mpc.engine.Engine over shapes. `products` has those so far."""

    def __init__(self) -> None:
        self.products: list[FixedProduct] = []

    def combination(self, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        return x @ matrix.to(x.device)

    def plus(self, x: torch.Tensor, constant: torch.Tensor) -> torch.Tensor:
        return x + constant.to(x.device)

    def dense(self, x: torch.Tensor, weight: Weight[torch.Tensor]) -> torch.Tensor:
        return self._noted("dense", x, weight)

    def dense_back(self, x: torch.Tensor, weight: Weight[torch.Tensor]) -> torch.Tensor:
        return self._noted("dense_back", x, weight)

    def convolve(
        self, x: torch.Tensor, weight: Weight[torch.Tensor], window: Window
    ) -> torch.Tensor:
        return self._noted("conv", x, weight, window)

    def constant(self, name: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        before = len(self.products)
        value = compute()
        # Only the first query of a snapshot has these.
        del self.products[before:]
        return value

    def _noted(
        self, kind: Map, x: torch.Tensor, weight: Weight[torch.Tensor], window: Window = PLAIN
    ) -> torch.Tensor:
        shapes = tuple(weight.number.shape), tuple(x.shape)
        self.products.append(FixedProduct(kind, weight.name, *shapes, window))
        return _nothing(self.products[-1].derived[0])
