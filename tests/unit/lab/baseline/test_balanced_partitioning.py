"""Balanced partitioning: equal means by the formula, on images that no network was trained on."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import nn

from privedge.errors import ConfigError
from privedge.ran.images import fit
from privedge.ran.spec import ImageShape
from privedge_lab.baseline.defence import Defence, Device, Fold
from privedge_lab.baseline.defences import registry
from privedge_lab.baseline.draws import KEY_BYTES, SeededDraws
from privedge_lab.baseline.network import head, tail
from privedge_lab.baseline.presets import lenet
from privedge_lab.baseline.spec import Linear, NetworkSpec
from privedge_lab.baseline.train import Trainee, TrainSettings, accuracy, train
from privedge_lab.datasets import Labelled, from_arrays, split

KEY = bytes(range(KEY_BYTES))
NAME = "balanced-partitioning"


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def draws(count):
    return SeededDraws(seeded(0), count)


class Table(nn.Module):
    """A head that puts out the value that the image's first pixel is the number of."""

    def __init__(self, values) -> None:
        super().__init__()
        self.values = values

    def forward(self, images):
        return self.values[images[:, 0, 0, 0].long()]


def begun(values, of, of_folds=None):
    """The defence as it is during training of a head that puts out `values`; the head; a fold
    whose head puts out `of_folds`, or the same. All images are seen, and unseen too.
    """
    images = torch.arange(len(of)).float().view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    data = Labelled(images, of, {"secret": of})
    defence = registry.make(NAME, 1.0, private="secret")
    head_of_all = nn.Sequential(Table(values))
    defence.begin(head_of_all, data, seeded(2))
    other = nn.Sequential(Table(values if of_folds is None else of_folds))
    return defence, head_of_all, [Fold(other, data, data)]


def leaning(seed, classes, kept):
    """Values of which each leans towards the fact, behind them log odds that know it in part."""
    generator = seeded(seed)
    of = torch.arange(60 * classes) % classes
    lean = torch.randn((classes, kept + classes - 1), generator=generator)
    lean[1:, kept:] += 2 * torch.eye(classes - 1)
    noise = torch.randn((len(of), kept + classes - 1), generator=generator)
    return lean[of] + noise, of


def means(values, of):
    return torch.stack([values[of == each].mean(0) for each in of.unique()])


@given(st.integers(0, 2**31), st.integers(2, 4), st.integers(1, 3))
def test_what_is_sent_has_the_same_means_for_all_values_of_the_fact(seed, classes, kept):
    values, of = leaning(seed, classes, kept)
    defence, network, folds = begun(values, of)
    before = defence.transform(values, draws(len(of)))
    assert torch.equal(before[:, :kept], values[:, :kept])
    defence.calibrate(network, folds)
    sent = defence.transform(values, draws(len(of)))
    found = means(sent[:, :kept].double(), of)
    assert torch.allclose(found, found.mean(0).expand_as(found), atol=1e-2)
    assert not sent[:, kept:].any()


def test_a_guess_that_is_often_wrong_takes_no_less_out():
    generator, of = seeded(3), torch.arange(4000) % 2
    leaning = of + torch.randn(len(of), generator=generator)
    left = []
    for sure in (0.5, 6.0):
        guess = sure * (of - 0.5) + torch.randn(len(of), generator=generator)
        values = torch.stack([leaning, guess], 1)
        defence, network, folds = begun(values, of)
        half = folds[0].seen.take(torch.arange(2000))
        defence.calibrate(network, [Fold(folds[0].head, half, half)])
        found = means(defence.transform(values[2000:], draws(2000))[:, :1], of[2000:])
        left.append(abs(float(found[1] - found[0])))
    assert max(left) < 0.1


def test_a_guess_that_knows_nothing_changes_nothing():
    values, of = leaning(4, 2, 1)
    values[:, 1] = 0.3
    defence, network, folds = begun(values, of)
    defence.calibrate(network, folds)
    assert torch.equal(defence.transform(values, draws(len(of)))[:, 0], values[:, 0])


def test_it_survives_its_file_and_is_not_used_untrained():
    values, of = leaning(5, 3, 2)
    defence, network, folds = begun(values, of)
    defence.calibrate(network, folds)
    learned = defence.learned()
    assert len(learned) == 2 + 2 * 2
    again = registry.make(NAME, 1.0, learned=learned)
    assert torch.equal(again.transform(values, draws(9)), defence.transform(values, draws(9)))
    with pytest.raises(ConfigError, match="train the network with it"):
        Device(nn.Sequential(), registry.make(NAME, 1.0), KEY).send(torch.zeros((1, 3)))
    assert registry.make(NAME, 1.0).learned() == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda learned: {},
        lambda learned: learned | {"balance_2_0": 1.0},
        lambda learned: learned | {"sigma": 1.0},
        lambda learned: {k: v for k, v in learned.items() if k != "prior_1"},
        lambda learned: learned | {"balance_1_0": math.nan},
    ],
)
def test_a_file_that_does_not_fit_is_refused(change):
    with pytest.raises(ConfigError, match="the file"):
        registry.make(NAME, 1.0, learned=change({"prior_1": 0.5, "balance_1_0": 2.0}))


@pytest.mark.parametrize(
    "private, cut, message",
    [
        (None, "relu4", "name the private fact"),
        ("secret", "relu2", "a list of more than 1"),
        ("other", "relu4", "no such fact; they have secret"),
    ],
)
def test_what_cannot_be_balanced_is_refused(private, cut, message):
    images = torch.rand((8, 1, 28, 28), generator=seeded(6))
    data = Labelled(images, torch.arange(8) % 2, {"secret": torch.arange(8) % 2})
    trainee = Trainee(lenet(), cut, registry.make(NAME, 1.0, private=private), KEY)
    with pytest.raises(ConfigError, match=message):
        train(trainee, data, TrainSettings(epochs=1))


@given(st.integers(0, 2**31), st.integers(1, 3))
def test_heads_that_say_the_same_otherwise_balance_alike(seed, kept):
    values, of = leaning(seed, 2, kept)
    turned = values.clone()
    turn = torch.linalg.qr(torch.randn((kept, kept), generator=seeded(seed)))[0]
    turned[:, :kept] = -3 * values[:, :kept] @ turn + 5
    balances = []
    for of_folds in (values, turned):
        defence, network, folds = begun(values, of, of_folds)
        defence.calibrate(network, folds)
        balances.append(torch.tensor(list(defence.learned().values())))
    assert torch.allclose(*balances, atol=1e-2)


class Recorder(Defence):
    """Remembers the heads that were trained, on what, and what `calibrate` was given."""

    trains = True
    folds = 3

    def __init__(self) -> None:
        super().__init__()
        self.begun = []
        self.head = None
        self.given = []

    def begin(self, head, data, generator):
        self.begun.append(set(data.facts["number"].tolist()))

    def calibrate(self, head, folds):
        self.head, self.given = head, folds


def test_every_image_is_unseen_by_the_head_of_one_fold():
    images = torch.rand((20, 1, 28, 28), generator=seeded(7))
    data = Labelled(images, torch.arange(20) % 10, {"number": torch.arange(20)})
    recorder, shown = Recorder(), []
    network = train(
        Trainee(lenet(), "relu3", recorder, KEY),
        data,
        TrainSettings(epochs=2),
        progress=lambda now: shown.append((now.epoch, now.epochs)),
    )
    assert shown == [(epoch, 8) for epoch in range(1, 9)]
    seen = [set(fold.seen.facts["number"].tolist()) for fold in recorder.given]
    assert recorder.begun == [*seen, set(range(20))]
    unseen = [fold.unseen.facts["number"].tolist() for fold in recorder.given]
    assert sorted(number for part in unseen for number in part) == list(range(20))
    assert all(not part & set(others) for part, others in zip(seen, unseen, strict=True))
    assert torch.equal(recorder.head(images), head(network, "relu3")(images))
    outputs = [fold.head(images) for fold in recorder.given]
    assert not torch.allclose(outputs[0], outputs[1])


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    small = np.rint(data.images * (255 / 16)).astype(np.uint8)
    images = fit(small, ImageShape(height=28, width=28, channels=1))
    labels = data.target
    facts = {"round": np.isin(labels, (0, 6, 8, 9)).astype(np.int64)}
    return split(from_arrays(images, labels % 2, facts), seed=1)


def test_trained_with_it_a_network_keeps_its_task_and_evens_out_the_fact(digits):
    # The task: odd or even. Three of the four round digits are even.
    spec, few = _narrow(), digits.train.take(torch.arange(400))
    gaps, scores = [], []
    for name in ("none", NAME):
        defence = registry.make(name, 1.0, private="round")
        network = train(Trainee(spec, "guess", defence, KEY), few, TrainSettings(epochs=10))
        device = Device(head(network, "guess"), defence, KEY)
        sent = device.send(digits.test.images)
        middle = means(sent[:, :1], digits.test.facts["round"])
        gaps.append(float((middle[1] - middle[0]).abs() / sent[:, 0].std()))
        scores.append(accuracy(device, tail(network, "guess"), digits.test))
    assert gaps[0] > 0.3, (gaps, scores)
    assert gaps[1] < gaps[0] / 2, (gaps, scores)
    assert scores[1] > 0.7, (gaps, scores)


def _narrow() -> NetworkSpec:
    """LeNet with two values before its answer."""
    wide = lenet(2)
    layers = (
        *wide.layers[:-1],
        Linear(name="guess", inputs=84, outputs=2),
        Linear(name="fc4", inputs=2, outputs=2),
    )
    return wide.model_copy(update={"layers": layers})
