"""A small trained LeNet on scikit-learn's digits, once for all tests of attacks."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from privedge.ran.images import fit
from privedge.ran.spec import ImageShape
from privedge_lab.baseline.defence import Defence, Device
from privedge_lab.baseline.draws import KEY_BYTES
from privedge_lab.baseline.network import head
from privedge_lab.baseline.presets import lenet
from privedge_lab.baseline.train import Trainee, TrainSettings, train
from privedge_lab.datasets import TrainTest, from_arrays, split

KEY = bytes(range(KEY_BYTES))


@dataclass(frozen=True)
class Bench:
    """A trained network and its images; the first `count` test images are attacked."""

    network: torch.nn.Sequential
    images: TrainTest
    count: int = 12

    @property
    def secret(self) -> torch.Tensor:
        return self.images.test.images[: self.count]

    def device(self, cut: str, defence: Defence | None = None) -> Device:
        return Device(head(self.network, cut), defence or Defence(), KEY)

    @property
    def mean_image(self) -> torch.Tensor:
        return self.images.train.images.mean(0, keepdim=True).expand_as(self.secret)


@pytest.fixture(scope="session")
def bench():
    data = load_digits()
    small = np.rint(data.images * (255 / 16)).astype(np.uint8)
    images = fit(small, ImageShape(height=28, width=28, channels=1))
    parts = split(from_arrays(images, data.target), seed=1)
    trainee = Trainee(lenet(), "relu2", Defence(), KEY)
    return Bench(train(trainee, parts.train, TrainSettings(epochs=2)), parts)
