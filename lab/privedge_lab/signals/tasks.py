"""The tasks: signals in [0, 1] with what is to be predicted of them, and networks for them.

    ecg         which of three rhythms a window of 2 s shows; test windows are of other people
    pendulum    a regression: how long the limb is that a sensor swings on
    diabetes    a regression: how a disease goes on, from ten readings of a patient (442 patients,
                Efron et al. 2004, bundled with scikit-learn)

The first two are made anew from a seed. Dong et al. 2017 put a first, fully connected layer on the
device; `dense` is that network, and `convolution` has one along time instead. Both have twice as
many outputs there as the signal has values, through a leaky ReLU, which can be undone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_diabetes

from privedge.errors import ConfigError
from privedge_lab.baseline.spec import LeakyRelu, Linear, NetworkSpec, Plain, SignalConv
from privedge_lab.datasets import Labelled, TrainTest
from privedge_lab.signals import ecg, pendulum

CUT = "act1"
_KERNEL = 9


@dataclass(frozen=True)
class SignalTask:
    """A task's parts. `outputs`: its classes, or 1 for a regression. `epochs`: how long to train.

    Values of a regression are scaled to mean 0 and deviation 1 on the training part.
    """

    name: str
    parts: TrainTest
    outputs: int
    epochs: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one signal: (channels, 1, points)."""
        _, channels, height, points = self.parts.train.images.shape
        return channels, height, points


def task(name: str, seed: int) -> SignalTask:
    """Make or read a task. Raises ConfigError for an unknown name."""
    if name not in _TASKS:
        raise ConfigError(f"{name}: no such task; there are {', '.join(_TASKS)}")
    return _TASKS[name](np.random.default_rng(seed))


def network(name: str, of: SignalTask) -> NetworkSpec:
    """The network `name` for a task; it is cut at CUT. Raises ConfigError for an unknown name."""
    if name not in NETWORKS:
        raise ConfigError(f"{name}: no such network; there are {', '.join(NETWORKS)}")
    channels, _, points = of.shape
    values = channels * points
    first = (
        (Plain(name="flat", kind="flatten"), Linear(name="fc1", inputs=values, outputs=2 * values))
        if name == "dense"
        else (
            SignalConv(
                name="conv1",
                inputs=channels,
                outputs=4 * channels,
                kernel=_KERNEL,
                stride=2,
                padding=_KERNEL // 2,
            ),
        )
    )
    after = () if name == "dense" else (Plain(name="flat", kind="flatten"),)
    return NetworkSpec(
        name=f"signal-{name}",
        input=of.shape,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        classes=of.outputs,
        layers=(
            *first,
            LeakyRelu(name=CUT),
            *after,
            Linear(name="fc2", inputs=2 * values, outputs=64),
            Plain(name="relu2", kind="relu"),
            Linear(name="fc3", inputs=64, outputs=of.outputs),
        ),
    )


NETWORKS = ("dense", "convolution")


def _ecg(rng: np.random.Generator) -> SignalTask:
    train, test = (_labelled(*ecg.windows(people, 10, rng)) for people in (250, 40))
    return SignalTask("ecg", _scaled(train, test), len(ecg.NAMES), epochs=30)


def _pendulum(rng: np.random.Generator) -> SignalTask:
    train, test = (_labelled(*pendulum.windows(count, rng)) for count in (2000, 400))
    return SignalTask("pendulum", _regression(train, test), 1, epochs=40)


def _diabetes(rng: np.random.Generator) -> SignalTask:
    bunch = load_diabetes()
    order = rng.permutation(len(bunch.target))
    values, targets = bunch.data[order][:, None, None], bunch.target[order]
    train, test = _labelled(values[:342], targets[:342]), _labelled(values[342:], targets[342:])
    return SignalTask("diabetes", _regression(train, test), 1, epochs=60)


_TASKS: Mapping[str, Callable[[np.random.Generator], SignalTask]] = {
    "ecg": _ecg,
    "pendulum": _pendulum,
    "diabetes": _diabetes,
}
TASKS = tuple(_TASKS)


def _labelled(signals: npt.NDArray[np.float64], targets: npt.NDArray[np.generic]) -> Labelled:
    return Labelled(torch.from_numpy(signals).float(), torch.from_numpy(targets))


def _scaled(train: Labelled, test: Labelled) -> TrainTest:
    """Bring each channel to [0, 1] as it is on the training part; what lies beyond is clipped."""
    values = train.images.transpose(0, 1).flatten(1)
    least, most = (values.quantile(q, dim=1)[:, None, None] for q in (0.001, 0.999))

    def scale(part: Labelled) -> Labelled:
        return Labelled(((part.images - least) / (most - least)).clamp(0, 1), part.labels)

    return TrainTest(scale(train), scale(test))


def _regression(train: Labelled, test: Labelled) -> TrainTest:
    parts = _scaled(train, test)
    mean, std = train.labels.mean(), train.labels.std()

    def scale(part: Labelled) -> Labelled:
        return Labelled(part.images, ((part.labels - mean) / std).float())

    return TrainTest(scale(parts.train), scale(parts.test))
