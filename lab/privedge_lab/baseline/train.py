"""Train a network that will be cut, with the defence that its device will use.

The defaults are He et al.'s (released code): Adam 1e-3, eps 1e-3, AMSGrad, batches of 32, the rate
halved every 20 epochs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from privedge.errors import TrainingError
from privedge_lab.baseline.defence import Defence, Device, Fold
from privedge_lab.baseline.draws import Draws, KeyedDraws, SeededDraws
from privedge_lab.baseline.network import build, head, tail
from privedge_lab.baseline.spec import NetworkSpec
from privedge_lab.datasets import Labelled


@dataclass(frozen=True)
class TrainSettings:
    """How long and how fast to train. `seed` fixes weights, order and the draws of defences.

    Two settings augment small sets, anew in each epoch. `mirror` flips about half of the images
    left to right. `shift` moves each image by up to that many pixels; its edges repeat.
    """

    epochs: int = 20
    batch: int = 32
    rate: float = 1e-3
    halve_every: int = 20
    seed: int = 0
    mirror: bool = False
    shift: int = 0


@dataclass(frozen=True)
class Epoch:
    """Epochs finished, epochs in all, and the last epoch's mean loss."""

    epoch: int
    epochs: int
    loss: float


@dataclass(frozen=True)
class Trainee:
    """What is trained together: the network, its cut, and the device's defence."""

    spec: NetworkSpec
    cut: str
    defence: Defence
    # The deployment's key, for defences that draw the same for every image.
    key: bytes


def train(
    trainee: Trainee,
    data: Labelled,
    settings: TrainSettings,
    *,
    progress: Callable[[Epoch], None] | None = None,
) -> nn.Sequential:
    """Train the whole network; return it in eval mode. Repeatable bit for bit on one machine.

    Raises ConfigError for a cut or layers that do not fit. Raises TrainingError for images that do
    not fit the network, or a loss that is not finite.
    """
    _check(trainee.spec, data)
    trainings = 1 + trainee.defence.folds
    shown = partial(_of_all, progress, trainings)
    # The folds come first, so that the training that counts sets the final state of the defence.
    folds = list(_folds(trainee, data, settings, shown))
    network = _fitted(trainee, data, settings, shown(trainings - 1))
    device = head(network, trainee.cut)
    trainee.defence.finish(device, data)
    if folds:
        trainee.defence.calibrate(device, folds)
    return network


def _folds(
    trainee: Trainee,
    data: Labelled,
    settings: TrainSettings,
    shown: Callable[[int], Callable[[Epoch], None]],
) -> Iterator[Fold]:
    """Train as many folds as the defence asks for; each image is unseen in one of them."""
    if not trainee.defence.folds:
        return
    generator = torch.Generator().manual_seed(settings.seed)
    order = torch.randperm(len(data), generator=generator)
    for done, unseen in enumerate(order.tensor_split(trainee.defence.folds)):
        seen = data.take(order[~torch.isin(order, unseen)])
        seed = int(torch.randint(2**31, (), generator=generator))
        network = _fitted(trainee, seen, replace(settings, seed=seed), shown(done))
        yield Fold(head(network, trainee.cut), seen, data.take(unseen))


def _of_all(
    progress: Callable[[Epoch], None] | None, trainings: int, done: int
) -> Callable[[Epoch], None]:
    """Report the progress of one training as a part of all trainings."""

    def show(now: Epoch) -> None:
        if progress is not None:
            epochs = now.epochs
            progress(Epoch(done * epochs + now.epoch, trainings * epochs, now.loss))

    return show


def _fitted(
    trainee: Trainee,
    data: Labelled,
    settings: TrainSettings,
    progress: Callable[[Epoch], None] | None,
) -> nn.Sequential:
    """Train one network; return it in eval mode."""
    generator = torch.Generator().manual_seed(settings.seed)
    network = build(trainee.spec, generator).train()
    device, server = head(network, trainee.cut), tail(network, trainee.cut)
    trains = trainee.defence.trains
    if trains:
        trainee.defence.begin(device, data, generator)
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.rate, eps=1e-3, amsgrad=True)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, settings.halve_every, 0.5)
    for epoch in range(1, settings.epochs + 1):
        losses = []
        for index in torch.randperm(len(data), generator=generator).split(settings.batch):
            batch = _varied(data.take(index), settings, generator)
            values = device(batch.images)
            sent = trainee.defence.transform(values, _draws(trainee, batch.images, generator))
            trainee.defence.learn(batch, sent.detach())
            loss = _task_loss(server(sent), batch.labels)
            loss = loss + trainee.defence.penalty(batch, values, sent)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.detach())
        schedule.step()
        mean = float(torch.stack(losses).mean())
        if not torch.isfinite(torch.tensor(mean)):
            raise TrainingError("training diverged: lower the defence's strength or the rate")
        if progress is not None:
            progress(Epoch(epoch, settings.epochs, mean))
    return network.eval()


def _task_loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    if labels.is_floating_point():
        return functional.mse_loss(outputs.squeeze(1), labels)
    return functional.cross_entropy(outputs, labels)


@torch.no_grad()
def accuracy(device: Device, server: nn.Sequential, data: Labelled) -> float:
    """Return the share of `data` that the tail `server` labels right from what `device` sends."""
    server.eval()
    hits = 0
    for index in torch.arange(len(data)).split(500):
        part = data.take(index)
        hits += int((server(device.send(part.images)).argmax(1) == part.labels).sum())
    return hits / len(data)


@torch.no_grad()
def explained(device: Device, server: nn.Sequential, data: Labelled) -> float:
    """Return R squared of a regression: 1 is exact, 0 as good as answering with the mean."""
    server.eval()
    answers = torch.cat([server(device.send(part)).squeeze(1) for part in data.images.split(500)])
    left = (answers - data.labels).double().square().sum()
    return 1 - float(left / (data.labels - data.labels.mean()).double().square().sum())


def _varied(batch: Labelled, settings: TrainSettings, generator: torch.Generator) -> Labelled:
    images = batch.images
    if settings.mirror:
        turned = torch.rand((len(images), 1, 1, 1), generator=generator) < 0.5
        images = torch.where(turned, images.flip(3), images)
    if settings.shift:
        images = _moved(images, settings.shift, generator)
    return replace(batch, images=images)


def _moved(images: torch.Tensor, shift: int, generator: torch.Generator) -> torch.Tensor:
    count, _, height, width = images.shape
    around = functional.pad(images, (shift,) * 4, mode="replicate")
    down, right = torch.randint(2 * shift + 1, (2, count, 1), generator=generator)
    rows, columns = down + torch.arange(height), right + torch.arange(width)
    each = torch.arange(count)[:, None, None]
    # This indexing puts the channels last.
    return around[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _draws(trainee: Trainee, images: torch.Tensor, generator: torch.Generator) -> Draws:
    if trainee.defence.repeat == "fixed":
        return KeyedDraws(trainee.key, images, "fixed")
    return SeededDraws(generator, len(images))


def _check(spec: NetworkSpec, data: Labelled) -> None:
    if tuple(data.images.shape[1:]) != spec.input:
        raise TrainingError(
            f"{spec.name}: needs images of {spec.input}, these are {tuple(data.images.shape[1:])}"
        )
    if data.labels.is_floating_point() != spec.regression:
        kinds = ("values", "classes") if spec.regression else ("classes", "values")
        raise TrainingError(f"{spec.name}: predicts {kinds[0]}, the images have {kinds[1]}")
    if not spec.regression and data.classes > spec.classes:
        raise TrainingError(f"{spec.name}: has {spec.classes} classes, the images {data.classes}")
