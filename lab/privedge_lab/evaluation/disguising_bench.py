"""The data sets, disguises and adversaries' views of the experiment on disguised images."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from privedge_lab.attacks.views import DisguisedView, KnownPairsView
from privedge_lab.baseline.shifts import with_shifts
from privedge_lab.datasets import Labelled, TrainTest, split
from privedge_lab.disguise import learning
from privedge_lab.disguise.disguise import Disguise
from privedge_lab.disguise.keys import DisguiseKey
from privedge_lab.disguise.settings import Aes, Permutation, Rmt, Settings, Sized

DISGUISES: dict[str, Settings] = {
    "rmt": Rmt(),
    "rmt-projection": Rmt(matrix="projection"),
    "rmt-noise": Rmt(noise=0.25),
    "permutation": Permutation(),
    "aes": Aes(),
}
PAIRS = (1, 5, 10, 15, 20, 25, 30, 35, 50, 75, 100)


@dataclass(frozen=True)
class Plan:
    """How much to measure: `images` disguised images are attacked, at least 200.

    `sizes`: numbers of training images for which accuracy with and without a disguise is compared.
    """

    seed: int = 0
    epochs: int = 3
    shifts: int = 3
    images: int = 300
    pairs: tuple[int, ...] = PAIRS
    disguises: tuple[str, ...] = tuple(DISGUISES)
    sizes: tuple[int, ...] = ()


class Bench:
    """One data set under one plan; what is costly is made when a row needs it."""

    def __init__(self, data: Labelled, plan: Plan) -> None:
        self.plan = plan
        self.parts: TrainTest = split(data, seed=plan.seed)
        self.image = (data.images.shape[1], data.images.shape[2], data.images.shape[3])
        generator = torch.Generator().manual_seed(plan.seed)
        self.training = with_shifts(self.parts.train, plan.shifts, generator)
        self._plain_of_size: dict[int, float] = {}

    @cached_property
    def plain(self) -> nn.Sequential:
        """The same network, trained on the same images as they are."""
        return self.learn(self.training)

    def of_size(self, size: int) -> Labelled:
        """So many training images, drawn by the seed, and their shifted copies."""
        generator = torch.Generator().manual_seed(self.plan.seed)
        chosen = torch.randperm(len(self.parts.train), generator=generator)[:size]
        return with_shifts(self.parts.train.take(chosen), self.plan.shifts, generator)

    def plain_of_size(self, size: int) -> float:
        """The accuracy of a network that learnt from so many images as they are."""
        if size not in self._plain_of_size:
            network = self.learn(self.of_size(size))
            self._plain_of_size[size] = self.accuracy(network, self.parts.test.images)
        return self._plain_of_size[size]

    def learn(self, data: Labelled) -> nn.Sequential:
        """A network that learnt for as many steps as `epochs` passes over the whole set take."""
        epochs = round(self.plan.epochs * len(self.training) / len(data))
        return learning.learn(data, learning.training(epochs, self.plan.seed))[1]

    def accuracy(self, network: nn.Sequential, images: torch.Tensor) -> float:
        """The share of the test part that `network` labels right, from `images` of it."""
        return float((learning.answer(network, images) == self.parts.test.labels).double().mean())


class Case:
    """One disguise of the bench's data set."""

    def __init__(self, bench: Bench, settings: Settings) -> None:
        self.bench = bench
        self.sized = Sized(settings=settings, image=bench.image)
        secret = hashlib.sha256(f"privedge disguising {bench.plan.seed}".encode()).digest()
        self.mine = Disguise(DisguiseKey(self.sized, secret))
        self.sent = self.mine.apply(bench.parts.test.images)

    def view(self) -> DisguisedView:
        """What an adversary without pairs has."""
        return DisguisedView(self.sent, self.sized, self.bench.parts.train)

    def pairs(self, count: int) -> KnownPairsView:
        """What an adversary with `count` known pairs has."""
        known = self.bench.parts.train.images[:count]
        sent = self.sent[: self.bench.plan.images]
        return KnownPairsView(sent, self.sized, known, self.mine.apply(known))

    def truth(self) -> torch.Tensor:
        """The images that are attacked."""
        return self.bench.parts.test.images[: self.bench.plan.images]
