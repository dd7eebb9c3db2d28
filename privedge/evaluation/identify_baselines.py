"""What private identification is held against, on the very same images.

pca   every owner's own principal components of PIXELS, otherwise trained and asked as the preset
knn   the nearest neighbour among everybody's training images, in pixels
cnn   one network trained on everybody's images pooled in one place: what privacy gives up

Only `pca` keeps an owner's images with the owner. Sees all of them in plaintext, as does whoever
runs the experiment. Training is seeded.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from privedge.evaluation.identify_parts import Images, Labels, Parts
from privedge.ran.images import fit
from privedge.ran.spec import ImageShape, Pixels, RanSpec, Subspace

BASELINES = ("pca", "knn", "cnn")

_STEPS, _BATCH, _RATE = 700, 64, 3e-3
# Pixels that a training image is moved by at most, each way.
_SHIFT = 2
_WIDTHS = (32, 64, 96)
_WIDE = 48


def pca(spec: RanSpec) -> RanSpec:
    """The spec of the `pca` baseline for images and components as in `spec`."""
    first = spec.layers[0]
    components = first.components if isinstance(first, Subspace) else 64
    return RanSpec(
        name="pca",
        image=spec.image,
        features=Pixels(),
        layers=(Subspace(components=components),),
    )


def knn(parts: Parts, shape: ImageShape) -> Labels:
    """Answers to `parts.images`, int64 (n,)."""
    from sklearn.neighbors import KNeighborsClassifier

    images, labels = _pooled(parts)
    nearest = KNeighborsClassifier(n_neighbors=1, algorithm="brute")
    nearest.fit(_flat(fit(images, shape)), labels)
    return np.asarray(nearest.predict(_flat(fit(parts.images, shape))), np.int64)


def cnn(parts: Parts, shape: ImageShape, seed: int, *, steps: int = _STEPS) -> Labels:
    """Answers to `parts.images`, int64 (n,), after `steps` batches; on one core about a minute."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = _pooled(parts)
    given, truth = _tensor(images, shape), torch.from_numpy(labels)
    network = _network(given.shape[1:], len(parts.owners), generator)
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)
    network.train()
    for _ in range(steps):
        drawn = torch.randint(len(given), (_BATCH,), generator=generator)
        loss = loss_of(network(_moved(given[drawn], generator)), truth[drawn])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        logits = [network(part) for part in _tensor(parts.images, shape).split(256)]
    return torch.cat(logits).argmax(1).numpy()


def _pooled(parts: Parts) -> tuple[Images, Labels]:
    labels = [np.full(len(images), number) for number, images in enumerate(parts.train)]
    return np.concatenate(parts.train), np.concatenate(labels)


def _flat(images: Images) -> npt.NDArray[np.float32]:
    scaled = images.reshape(len(images), -1) / 255
    return scaled.astype(np.float32)


def _tensor(images: Images, shape: ImageShape) -> torch.Tensor:
    pixels = torch.from_numpy(fit(images, shape)).float() / 127.5 - 1
    return pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()


def _network(shape: torch.Size, classes: int, generator: torch.Generator) -> nn.Sequential:
    channels, height, width = shape
    # Large images are halved at once, which keeps the cost about the same.
    stride = 2 if max(height, width) > _WIDE else 1
    layers: list[nn.Module] = []
    for number, out in enumerate(_WIDTHS):
        layers += [
            nn.Conv2d(channels, out, 3, stride if number == 0 else 1, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        channels = out
    last = nn.Linear(16 * channels, classes)
    layers += [nn.AdaptiveAvgPool2d(4), nn.Flatten(), _Dropout(0.3, generator), last]
    network = nn.Sequential(*layers)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter, generator=generator)
    nn.init.zeros_(last.bias)
    return network


class _Dropout(nn.Module):
    """nn.Dropout with its own generator, so that a run can be repeated."""

    def __init__(self, rate: float, generator: torch.Generator) -> None:
        super().__init__()
        self._rate, self._generator = rate, generator

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return values
        kept = torch.rand(values.shape, generator=self._generator) >= self._rate
        return values * kept / (1 - self._rate)


def _moved(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The whole batch by one random shift; over many batches that serves as well as one each."""
    down, right = (int(torch.randint(2 * _SHIFT + 1, (), generator=generator)) for _ in range(2))
    padded = nn.functional.pad(images, (_SHIFT,) * 4, mode="replicate")
    return padded[:, :, down : down + images.shape[2], right : right + images.shape[3]]
