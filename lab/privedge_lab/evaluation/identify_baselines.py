"""What private identification is held against, on the very same images.

pca   every owner's own principal components of PIXELS, otherwise trained and asked as the preset
knn   the nearest neighbour among everybody's training images, in pixels
cnn   one network trained on everybody's images pooled in one place: what privacy gives up
paper every owner's original network, after so few steps (paper:STEPS) that it is far from done

Each is trained once and can then be asked several sets of images. Only `pca` and `paper` keep an
owner's images with the owner. Sees all of them in plaintext, as does whoever runs the experiment.
Training is seeded.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from privedge import arrays
from privedge.arrays import Inputs, Labels
from privedge.errors import ConfigError
from privedge.progress import Progress
from privedge.ran import features
from privedge.ran.feature_kinds import Pixels
from privedge.ran.images import fit
from privedge.ran.presets import preset
from privedge.ran.public_files import PublicFiles
from privedge.ran.spec import ImageShape, RanSpec, Subspace
from privedge.user.checkpoint import Ran
from privedge.user.settings import settings_for
from privedge_lab.datasets import Labelled
from privedge_lab.evaluation import cohort, identify_figures
from privedge_lab.evaluation.cohort import Training
from privedge_lab.evaluation.identify_parts import Parts, pictures
from privedge_lab.results.rows.scores import Scores

# Numbers of owners, int64 (n,), for uint8 images (n, H, W) or (n, H, W, 3), or vectors (n, D).
Answers = Callable[[Inputs], Labels]
# Those that are for vectors, too: the others are made of pixels.
_OF_VECTORS = ("knn",)

_STEPS, _BATCH, _RATE = 700, 64, 3e-3
# Pixels that a training image is moved by at most, each way.
_SHIFT = 2
_WIDTHS = (32, 64, 96)
_WIDE = 48
_ASKED_AT_ONCE = 256
# Of the published 128, an eighth: with so few steps, more of them are worth more.
_PAPER_BATCH = 16


def usual(data: Labelled, files: PublicFiles) -> tuple[str, ...]:
    """Those that are measured if nobody says which; none for faces, of which pixels say little."""
    if data.of_vectors:
        return _OF_VECTORS
    return cohort.BASELINES if files.detector is None else ()


def learnt(
    names: Sequence[str],
    parts: Parts,
    spec: RanSpec,
    seed: int,
    progress: Progress,
    training: Training | None = None,
) -> dict[str, Answers]:
    """The baselines `names`, trained on `parts.train` at the size that `spec` has.

    Raises ConfigError for those that are made of pixels, if there are none.
    """
    if spec.image is None and (wrong := [name for name in names if name not in _OF_VECTORS]):
        raise ConfigError(
            f"baselines {', '.join(wrong)}: made of pixels, and these are vectors; choose "
            f"{', '.join(_OF_VECTORS)} or none"
        )
    ways: dict[str, Callable[[], Answers]] = {
        "pca": lambda: _pca(parts, pca(spec), seed, progress),
        "knn": lambda: knn(parts, spec),
        "cnn": lambda: cnn(parts, spec.image_shape, seed),
    }
    found = {}
    for number, name in enumerate(names):
        progress(f"baseline {name}", number, len(names))
        steps = cohort.paper_steps(name)
        if steps is None:
            found[name] = ways[name]()
        else:
            found[name] = _paper(parts, steps, seed, progress, training)
    return found


def scores(
    baselines: dict[str, Answers], images: Inputs, truth: Labels, owners: Sequence[str]
) -> dict[str, Scores]:
    """How well each does, asked `images`."""
    return {
        name: identify_figures.figures(truth, answers(images), owners).scores
        for name, answers in baselines.items()
    }


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


def knn(parts: Parts, spec: RanSpec) -> Answers:
    """The nearest neighbour among all of `parts.train`, in pixels or vectors."""
    images, labels = _pooled(parts)
    nearest = KNeighborsClassifier(n_neighbors=1, algorithm="brute")
    nearest.fit(_flat(images, spec), labels)
    return lambda asked: np.asarray(nearest.predict(_flat(asked, spec)), np.int64)


def cnn(parts: Parts, shape: ImageShape, seed: int, *, steps: int = _STEPS) -> Answers:
    """A network after `steps` batches of all of `parts.train`; on one core about a minute."""
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
    return lambda asked: _classified(network, _tensor(asked, shape))


def _classified(network: nn.Module, given: torch.Tensor) -> Labels:
    with torch.no_grad():
        logits = [network(part) for part in given.split(_ASKED_AT_ONCE)]
    return torch.cat(logits).argmax(1).numpy()


def _pca(parts: Parts, spec: RanSpec, seed: int, progress: Progress) -> Answers:
    return _least(cohort.train_models(parts, spec, settings_for(spec, seed=seed), progress), parts)


def _paper(
    parts: Parts, steps: int, seed: int, progress: Progress, training: Training | None
) -> Answers:
    channels = 3 if parts.images.ndim == 4 else 1
    height, width = parts.images.shape[1:3]
    spec = preset(cohort.PAPER, height=height, width=width, channels=channels)
    settings = settings_for(spec, seed=seed, steps=steps, batch=_PAPER_BATCH, threads=1)
    if training is not None:  # Of the same preset there may be models that are asked about.
        training = replace(training, folder=training.folder / "baseline")
    return _least(cohort.train_models(parts, spec, settings, progress, training), parts)


def _least(rans: Sequence[Ran], parts: Parts) -> Answers:
    def answers(images: Inputs) -> Labels:
        found = cohort.asked(rans, replace(parts, images=images))
        least: Labels = found.errors.argmin(axis=1)
        return least

    return answers


def _pooled(parts: Parts) -> tuple[Inputs, Labels]:
    labels = [np.full(len(images), number) for number, images in enumerate(parts.train)]
    return arrays.joined(parts.train), np.concatenate(labels)


def _flat(inputs: Inputs, spec: RanSpec) -> npt.NDArray[np.float32]:
    if spec.image is None:
        return features.extract(spec, inputs)
    images = fit(pictures(inputs), spec.image)
    scaled = images.reshape(len(images), -1) / 255
    return scaled.astype(np.float32)


def _tensor(images: Inputs, shape: ImageShape) -> torch.Tensor:
    pixels = torch.from_numpy(fit(pictures(images), shape)).float() / 127.5 - 1
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
