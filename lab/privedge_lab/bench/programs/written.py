"""The programs, written once for whichever CrypTen runs them. Their data is nobody's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from privedge.sharing.fixed_point import SCALE

# CrypTen's module, or a tensor of it. CrypTen has no types.
CrypTen = Any
Encrypted = Any

MANY = 100_000


@dataclass(frozen=True)
class Program:
    """One program.

    make: from CrypTen's module to the function that is timed, and the model in it, if any. Inputs
        are shared before.
    clear: what it gives in the clear.
    """

    name: str
    make: Callable[[CrypTen], tuple[Callable[[], Encrypted], Any]]
    clear: Callable[[], torch.Tensor]


def _numbers(*shape: int, seed: int) -> torch.Tensor:
    made = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=made) * 2 - 1


X, Y = _numbers(MANY, seed=1), _numbers(MANY, seed=2)
ROWS, COLUMNS = _numbers(256, 256, seed=3), _numbers(256, 256, seed=4)
IMAGE = _numbers(1, 1, 28, 28, seed=5)
CLASSES = _numbers(100, 10, seed=6)


def _of(
    name: str, function: Callable[..., Any], *inputs: torch.Tensor, clear: Any = None
) -> Program:
    def make(crypten: CrypTen) -> tuple[Callable[[], Encrypted], Any]:
        shared = [crypten.cryptensor(each, src=0) for each in inputs]
        return lambda: function(*shared), None

    return Program(name, make, lambda: (clear or function)(*inputs).float())


def lenet(nn: Any) -> Any:
    """LeNet for 28 x 28, in torch.nn or crypten.nn; public weights."""
    layers = [
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    ]  # fmt: skip
    net = nn.Sequential(*layers)
    for at, (_, parameter) in enumerate(net.named_parameters()):
        size = 1 / parameter[0].numel() ** 0.5 if parameter.dim() > 1 else 0.1
        parameter.data = _numbers(*parameter.shape, seed=100 + at) * size
    return net


def _make_lenet(crypten: CrypTen) -> tuple[Callable[[], Encrypted], Any]:
    net = lenet(crypten.nn)
    net.encrypt(src=0)
    net.eval()
    image = crypten.cryptensor(IMAGE, src=0)
    return lambda: net(image), net


def _clear_lenet() -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = lenet(torch.nn)(IMAGE)
    return result


LENET = Program("LeNet, 1 image", _make_lenet, _clear_lenet)
PROGRAMS = [
    _of("product of 100,000", lambda x, y: x * y, X, Y),
    _of("product of 256 x 256 matrices", lambda x, y: x.matmul(y), ROWS, COLUMNS),
    # What is compared is what numbers are encoded as.
    _of("comparison of 100,000", lambda x, y: x < y, X, Y,
        clear=lambda x, y: (x * SCALE).trunc() < (y * SCALE).trunc()),
    _of("ReLU of 100,000", lambda x: x.relu(), X),
    _of("argmax of 100 rows of 10", lambda x: x.argmax(dim=1), CLASSES,
        clear=lambda x: torch.nn.functional.one_hot(x.argmax(1), 10)),
    LENET,
]  # fmt: skip
