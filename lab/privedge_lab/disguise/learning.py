"""Networks that learn from disguised images, and answer only for disguised ones.

The network is smaller than that of the authors' released code (5 x 5 convolutions of 32 and 64
channels, 1024 hidden units), and otherwise like it. Pixels are scaled by their own mean and
deviation, because disguised pixels have any sign and size.

model_file.py writes the file: the whole network, the kind of disguise and the key's public
identity. Images of another key would get meaningless answers.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from privedge.errors import CheckpointError
from privedge_lab.baseline import model_file
from privedge_lab.baseline.defence import Defence
from privedge_lab.baseline.network import build
from privedge_lab.baseline.spec import Conv, Dropout, Layer, Linear, NetworkSpec, Plain, Pool
from privedge_lab.baseline.train import Epoch, Trainee, TrainSettings, train
from privedge_lab.datasets import Labelled
from privedge_lab.disguise.settings import Sized

Learnt = tuple[NetworkSpec, nn.Sequential]

_PART = "disguised"
_BATCH = 500
_UNUSED_KEY = bytes(32)  # no defence draws from it


@dataclass(frozen=True)
class DisguisedNetwork:
    """A whole network in eval mode, and the disguise of its training images."""

    spec: NetworkSpec
    layers: nn.Sequential = field(repr=False)
    sized: Sized
    key_identity: str


def spec_for(data: Labelled) -> NetworkSpec:
    """Return the network's spec for images (n, C, H, W), plain or disguised.

    It includes the images' mean and deviation.
    """
    channels, height, width = data.images.shape[1:]
    values = data.images.transpose(0, 1).flatten(1).double()
    layers: tuple[Layer, ...] = (
        Conv(name="conv1", inputs=channels, outputs=16, kernel=5, padding=2),
        Plain(name="relu1", kind="relu"),
        Pool(name="pool1", kind="max_pool"),
        Conv(name="conv2", inputs=16, outputs=32, kernel=5, padding=2),
        Plain(name="relu2", kind="relu"),
        Pool(name="pool2", kind="max_pool"),
        Plain(name="flat", kind="flatten"),
        Linear(name="fc1", inputs=32 * (height // 4) * (width // 4), outputs=256),
        Plain(name="relu3", kind="relu"),
        Dropout(name="drop1", rate=0.4),
        Linear(name="fc2", inputs=256, outputs=max(2, data.classes)),
    )
    return NetworkSpec(
        name="disguised",
        input=(channels, height, width),
        mean=tuple(values.mean(1).tolist()),
        std=tuple(values.std(1).clamp(min=1e-3).tolist()),
        classes=max(2, data.classes),
        layers=layers,
    )


def training(epochs: int, seed: int) -> TrainSettings:
    """Return settings with batches of 64, and with the rate halved twice."""
    return TrainSettings(epochs=epochs, batch=64, halve_every=max(1, epochs // 3), seed=seed)


def learn(
    data: Labelled,
    settings: TrainSettings,
    progress: Callable[[Epoch], None] | None = None,
) -> Learnt:
    """Train a network on `data`; return its spec and the network in eval mode.

    Raises as `train` does.
    """
    spec = spec_for(data)
    trainee = Trainee(spec, spec.cuts[0], Defence(), _UNUSED_KEY)
    return spec, train(trainee, data, settings, progress=progress)


@torch.no_grad()
def answer(network: nn.Sequential, images: torch.Tensor) -> torch.Tensor:
    """Label each image, float32 (n, C, H, W): int64 (n,)."""
    return torch.cat([network(part).argmax(1) for part in images.split(_BATCH)])


def save(network: DisguisedNetwork, path: Path) -> None:
    """Write `network` with mode 0600. Raises CheckpointError if it cannot be written."""
    described = {
        "part": _PART,
        "spec": json.loads(network.spec.to_json()),
        "cut": network.spec.cuts[0],  # the format wants one; the network is whole
        "sized": network.sized.model_dump(mode="json"),
        "key": network.key_identity,
    }
    model_file.write(path, described, network.layers, build(network.spec))


def load(path: Path) -> DisguisedNetwork:
    """Read and check the network at `path`. Raises CheckpointError naming the file."""
    part = model_file.read(path, _PART)
    layers = part.fill(lambda spec, _: build(spec))
    sized, identity = _of(part.described, where=part.where)
    return DisguisedNetwork(part.spec, layers, sized, identity)


def _of(described: dict[str, Any], *, where: str) -> tuple[Sized, str]:
    try:
        return Sized.model_validate_json(json.dumps(described["sized"])), str(described["key"])
    except (KeyError, ValidationError):
        raise CheckpointError(f"{where}: does not say how its images are disguised") from None
