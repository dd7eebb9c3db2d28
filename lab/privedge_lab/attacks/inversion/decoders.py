"""Inverse networks: from the activations of one cut to the image.

`paper` is He et al.'s (released code): one or two layers, made for their cuts. `residual` is the
kind used since ResSFL (`res_normN{blocks}C{channels}`): residual blocks with batch normalisation,
then transposed convolutions that double the side.

`dense` is of ours: two hidden layers, for a few values without a place, and for signals.

Activations of a convolution without padding belong to the middle of the image: position i of
LeNet's relu2 saw pixels 2i to 2i + 13. So a map is first padded all around to the image's side
divided by a power of two; each doubling then keeps it in place. A linear layer turns dense
activations into a map.
"""

from collections import OrderedDict
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from privedge.errors import ConfigError

Kind = Literal["paper", "residual", "dense"]
Shape = tuple[int, ...]

# A map made from dense activations has at most this side, and this many channels.
_DENSE_SIDE, _DENSE_CHANNELS = 8, 16
_HIDDEN = 256


def decoder(
    kind: Kind,
    sent: Shape,
    image: tuple[int, int, int],
    generator: torch.Generator,
    *,
    blocks: int = 2,
    channels: int = 32,
) -> nn.Module:
    """Build a fresh network from float32 (n, *sent) to pixels (n, *image) around [0, 1], unclipped.

    `sent` is (channels, height, width) or (features,). Weights are drawn from `generator`. `blocks`
    and `channels` apply to `residual`. Raises ConfigError for maps larger than the image.
    """
    steps: list[tuple[str, nn.Module]] = []
    if kind == "dense":
        network = _dense(sent, image)
        _draw(network, generator)
        return network
    shape = sent
    if len(sent) == 1:
        shape = _dense_map(image)
        steps.append(("spread", _Spread(sent[0], shape)))
    if len(shape) != 3 or shape[1] > image[1] or shape[2] > image[2]:
        raise ConfigError(f"no decoder from {sent} to images of {image}")
    if kind == "paper":
        steps.append(("body", _PAPER.get((shape, image), _small)(shape, image)))
    else:
        steps.append(("body", _residual(shape, image, blocks, channels)))
    network = nn.Sequential(OrderedDict(steps))
    _draw(network, generator)
    return network


def _paper_conv1(shape: Shape, image: Shape) -> nn.Module:
    return nn.Sequential(nn.Conv2d(8, 1, 5, padding=4), _Pixels())


def _paper_relu2(shape: Shape, image: Shape) -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(16, 8, 5),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 1, 5, stride=2, output_padding=1),
        _Pixels(),
    )


_PAPER = {
    ((8, 24, 24), (1, 28, 28)): _paper_conv1,
    ((16, 8, 8), (1, 28, 28)): _paper_relu2,
}


def _dense(sent: Shape, image: Shape) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(torch.Size(sent).numel(), _HIDDEN),
        nn.ReLU(),
        nn.Linear(_HIDDEN, _HIDDEN),
        nn.ReLU(),
        nn.Linear(_HIDDEN, torch.Size(image).numel()),
        nn.Unflatten(1, image),
    )


def _small(shape: Shape, image: Shape) -> nn.Module:
    """Follow the paper at any cut: one transposed convolution for each doubling, and a last one.

    At the three cuts of He et al.'s CIFAR network, this is their decoder with half the channels.
    """
    doublings = _doublings(shape, image)
    layers: list[nn.Module] = [_Padded(shape, image, doublings)]
    channels = shape[0]
    for _ in range(doublings):
        fewer = max(channels // 2, image[0])
        layers += (_twice(channels, fewer), nn.ReLU())
        channels = fewer
    layers += (nn.ConvTranspose2d(channels, image[0], 3, padding=1), _Cropped(image), _Pixels())
    return nn.Sequential(*layers)


def _residual(shape: Shape, image: Shape, blocks: int, channels: int) -> nn.Module:
    doublings = _doublings(shape, image)
    layers: list[nn.Module] = [_Padded(shape, image, doublings), _Block(shape[0], channels)]
    layers += (_Block(channels, channels) for _ in range(blocks))
    for _ in range(doublings):
        layers += (_twice(channels, channels), nn.BatchNorm2d(channels), nn.ReLU())
    layers += (nn.Conv2d(channels, image[0], 3, padding=1), nn.Sigmoid(), _Cropped(image))
    return nn.Sequential(*layers)


class _Block(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation, and a skip connection around them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.around = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        self.through = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.around(values) + self.through(values))


class _Spread(nn.Module):
    """Turn dense activations into a map."""

    def __init__(self, features: int, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.dense = nn.Linear(features, shape[0] * shape[1] * shape[2])

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.dense(values)).reshape(-1, *self.shape)


class _Padded(nn.Module):
    """Pad with zeros all around, up to the image's sides divided by 2 ** `doublings`."""

    def __init__(self, shape: Shape, image: Shape, doublings: int) -> None:
        super().__init__()
        self.edges: list[int] = []
        # Torch names the last side first.
        for have, end in ((shape[2], image[2]), (shape[1], image[1])):
            missing = -(-end // 2**doublings) - have
            self.edges += [missing // 2, missing - missing // 2]

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return functional.pad(values, self.edges)


class _Cropped(nn.Module):
    """Crop to the image's size, from the upper left: sides that are no multiple came out larger."""

    def __init__(self, image: Shape) -> None:
        super().__init__()
        self.height, self.width = image[1:]

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values[..., : self.height, : self.width]


class _Pixels(nn.Module):
    """Map [-1, 1], the range of the paper's decoders for MNIST, to [0, 1]."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return 0.5 + 0.5 * values


def _twice(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)


def _doublings(shape: Shape, image: Shape) -> int:
    count = 0
    while shape[1] << (count + 1) <= image[1] and shape[2] << (count + 1) <= image[2]:
        count += 1
    return count


def _dense_map(image: Shape) -> Shape:
    height, width = image[1:]
    while max(height, width) > _DENSE_SIDE:
        height, width = -(-height // 2), -(-width // 2)
    return (_DENSE_CHANNELS, height, width)


def _draw(network: nn.Module, generator: torch.Generator) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
