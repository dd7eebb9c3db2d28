"""The fused kernels run on the device of their tensors: nothing in them is tied to the CPU."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from parties.mpc.dealing import TupleShares
from parties.mpc.fused import compare
from parties.mpc.tuples import TupleKind

KERNELS: dict[str, Callable[[Any, torch.Tensor], Any]] = {
    "relu": lambda session, x: compare.rectified(session, x, bits=16),
    "exact relu": lambda session, x: compare.rectified(session, x, bits=16, exact=True),
    "exact truncation": lambda session, x: compare.truncated(session, x, bits=16),
    "negative": lambda session, x: compare.negative(session, x, bits=63),
}


class Alone:
    """A session in which the other party's share of everything is zero, on one device."""

    party = 0

    def __init__(self, device: str) -> None:
        self.tuples = self
        self._device = device

    def draw(self, kind: TupleKind) -> TupleShares:
        free = [torch.full(shape, 5, device=self._device) for shape in kind.free]
        return TupleShares(free, kind.derive(free))

    def exchange(self, mine: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(mine).reshape(-1)


def parts(kernel: str, device: str, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    result = KERNELS[kernel](Alone(device), x.to(device))
    return result if isinstance(result, tuple) else (result,)


# "meta" has no numbers, but refuses numpy and operations that mix it with the CPU.
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_stay_on_their_device(kernel):
    for part in parts(kernel, "meta", torch.zeros(1000, dtype=torch.int64)):
        assert (part.device.type, part.shape) == ("meta", (1000,))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_gpu_gives_the_same_bits(kernel):
    x = torch.arange(-(2**47), 2**47, 2**37 + 12345)
    here, there = parts(kernel, "cpu", x), parts(kernel, "cuda", x)
    assert all(torch.equal(first, second.cpu()) for first, second in zip(here, there, strict=True))
