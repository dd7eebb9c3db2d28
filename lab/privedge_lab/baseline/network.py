"""Build a network from its spec, and cut it into the device's head and the server's tail."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from privedge.errors import ConfigError
from privedge_lab.baseline.spec import Layer, NetworkSpec

_MAKE: dict[str, Callable[[Any], nn.Module]] = {
    "conv": lambda it: nn.Conv2d(it.inputs, it.outputs, it.kernel, it.stride, it.padding),
    "signal_conv": lambda it: nn.Conv2d(
        it.inputs, it.outputs, (1, it.kernel), (1, it.stride), (0, it.padding)
    ),
    "linear": lambda it: nn.Linear(it.inputs, it.outputs),
    "batch_norm": lambda it: nn.BatchNorm2d(it.channels),
    "max_pool": lambda it: nn.MaxPool2d(it.size),
    "avg_pool": lambda it: nn.AvgPool2d(it.size),
    "leaky_relu": lambda it: nn.LeakyReLU(it.slope),
    "dropout": lambda it: nn.Dropout(it.rate),
    "relu": lambda _: nn.ReLU(),
    "sigmoid": lambda _: nn.Sigmoid(),
    "tanh": lambda _: nn.Tanh(),
    "flatten": lambda _: nn.Flatten(),
}


def _module(layer: Layer) -> nn.Module:
    return _MAKE[layer.kind](layer)


class _Scale(nn.Module):
    """Bring pixels (n, C, H, W) in [0, 1] to the network's own scale. It has no parameters."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(spec.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(-1, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels - self.mean) / self.std


def build(spec: NetworkSpec, generator: torch.Generator | None = None) -> nn.Sequential:
    """Build the whole network: float32 pixels (n, C, H, W) in [0, 1] to logits (n, classes).

    Its first module is `scale`; the others have the spec's names. With a `generator`, the weights
    are drawn from it (Xavier uniform, biases 0), else by torch's defaults. Raises ConfigError if
    the layers do not fit each other.
    """
    network = nn.Sequential(OrderedDict([("scale", _Scale(spec)), *_modules(spec.layers)]))
    if generator is not None:
        _draw(network, generator)
    _check(network, spec)
    return network


def head(network: nn.Sequential, cut: str) -> nn.Sequential:
    """Return the device's part: scaling and the layers up to and including `cut`.

    It shares the network's parameters. Raises ConfigError for a cut that the network does not have.
    """
    return nn.Sequential(OrderedDict(list(network.named_children())[: _place(network, cut)]))


def tail(network: nn.Sequential, cut: str) -> nn.Sequential:
    """Return the server's part: the layers after `cut`.

    It shares the network's parameters. Raises as `head` does.
    """
    return nn.Sequential(OrderedDict(list(network.named_children())[_place(network, cut) :]))


def head_of(spec: NetworkSpec, cut: str) -> nn.Sequential:
    """Build a device's part alone, its weights still to be loaded. Raises as `head` does."""
    place = _layers_before(spec, cut)
    return nn.Sequential(OrderedDict([("scale", _Scale(spec)), *_modules(spec.layers[:place])]))


def tail_of(spec: NetworkSpec, cut: str) -> nn.Sequential:
    """Build a server's part alone, its weights still to be loaded. Raises as `head` does."""
    return nn.Sequential(OrderedDict(_modules(spec.layers[_layers_before(spec, cut) :])))


def sent_shape(spec: NetworkSpec, cut: str) -> tuple[int, ...]:
    """Return the shape of one image's activations at `cut`. Raises ConfigError as `head` does."""
    # Torch's "meta" device has shapes without weights.
    with torch.device("meta"):
        values = torch.empty((1, *spec.input))
        for layer in spec.layers[: _layers_before(spec, cut)]:
            values = _module(layer).eval()(values)
    return tuple(values.shape[1:])


def _modules(layers: Iterable[Layer]) -> list[tuple[str, nn.Module]]:
    return [(layer.name, _module(layer)) for layer in layers]


def _layers_before(spec: NetworkSpec, cut: str) -> int:
    return _place_in([layer.name for layer in spec.layers], cut)


def _place(network: nn.Sequential, cut: str) -> int:
    return _place_in([name for name, _ in network.named_children()], cut)


def _place_in(names: list[str], cut: str) -> int:
    if cut not in names[:-1]:
        possible = ", ".join(name for name in names[:-1] if name != "scale")
        raise ConfigError(f"{cut}: the network cannot be cut there; its cuts are {possible}")
    return names.index(cut) + 1


def _draw(network: nn.Sequential, generator: torch.Generator) -> None:
    for module in network:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _check(network: nn.Sequential, spec: NetworkSpec) -> None:
    with torch.no_grad():
        try:
            out = network.eval()(torch.zeros((1, *spec.input)))
        except RuntimeError as error:
            raise ConfigError(
                f"{spec.name}: its layers do not fit each other ({str(error).splitlines()[0]})"
            ) from None
    network.train()
    if tuple(out.shape) != (1, spec.classes):
        raise ConfigError(
            f"{spec.name}: outputs {tuple(out.shape[1:])} values for {spec.classes} classes"
        )
