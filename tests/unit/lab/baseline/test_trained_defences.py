"""NoPeek, Fisher noise and partitioning: the formulas, and that training with them hides."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from privedge.errors import ConfigError
from privedge.ran.images import fit
from privedge.ran.spec import ImageShape
from privedge_lab.baseline.defence import Device
from privedge_lab.baseline.defences import registry
from privedge_lab.baseline.defences.fisher import Fisher, jacobian_energy
from privedge_lab.baseline.defences.nopeek import distance_correlation
from privedge_lab.baseline.draws import KEY_BYTES
from privedge_lab.baseline.network import head, tail
from privedge_lab.baseline.presets import lenet
from privedge_lab.baseline.train import Trainee, TrainSettings, accuracy, train
from privedge_lab.datasets import Labelled, from_arrays, split

KEY = bytes(range(KEY_BYTES))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    small = np.rint(data.images * (255 / 16)).astype(np.uint8)
    images = fit(small, ImageShape(height=28, width=28, channels=1))
    labels = data.target
    facts = {"round": np.isin(labels, (0, 6, 8, 9)).astype(np.int64)}
    return split(from_arrays(images, labels, facts), seed=1)


def test_distance_correlation_is_one_of_a_scaled_copy_and_small_of_strangers():
    one = torch.randn((400, 3), generator=seeded(1))
    turned = one @ torch.linalg.qr(torch.randn((3, 3), generator=seeded(2)))[0]
    assert distance_correlation(one, 5 * turned + 2) == pytest.approx(1, abs=1e-3)
    assert distance_correlation(one, torch.randn((400, 3), generator=seeded(3))) < 0.2
    # Depends on it without any linear correlation: distance correlation still sees it.
    assert distance_correlation(one[:, :1], one[:, :1].square()) > 0.4


def test_distance_correlation_of_constants_has_a_finite_gradient():
    sent = torch.zeros((5, 4), requires_grad=True)
    distance_correlation(torch.randn((5, 3), generator=seeded(1)), sent).backward()
    assert torch.isfinite(sent.grad).all()


def test_training_with_nopeek_lowers_the_correlation(digits):
    few = digits.train.take(torch.arange(192))
    found = []
    for strength in (0.0, 3.0):
        trainee = Trainee(lenet(), "relu2", registry.make("nopeek", strength), KEY)
        network = train(trainee, few, TrainSettings(epochs=2))
        with torch.no_grad():
            sent = head(network, "relu2")(digits.test.images)
        found.append(float(distance_correlation(digits.test.images, sent)))
    assert found[1] < found[0] - 0.1


def test_hutchinson_finds_the_trace_of_a_linear_head():
    weight = torch.randn((7, 16), generator=seeded(4))
    linear = nn.Linear(16, 7, bias=False)
    linear.weight.data = weight
    images = torch.rand((64, 1, 4, 4), generator=seeded(5))
    network = nn.Sequential(nn.Flatten(), linear)
    found = jacobian_energy(network, images, probes=200)
    assert found == pytest.approx(float(weight.square().sum()), rel=0.05)


def test_fisher_noise_meets_its_bound_where_the_best_unbiased_attack_is_known():
    # sent = 3 x + noise: the best unbiased estimate is sent / 3, its error sigma^2 / 9 = strength.
    class Triple(nn.Module):
        def forward(self, images):
            return 3 * images

    images = torch.rand((256, 1, 8, 8), generator=seeded(6))
    defence = registry.make("fisher", 0.04)
    network = nn.Sequential(Triple())
    defence.finish(network, Labelled(images, torch.zeros(256, dtype=torch.int64)))
    assert defence.learned()["sigma"] == pytest.approx(3 * math.sqrt(0.04))
    found = Device(network, defence, KEY).send(images) / 3
    assert float((found - images).square().mean()) == pytest.approx(0.04, rel=0.05)


def test_fisher_noise_survives_its_file_and_is_not_used_uncalibrated():
    assert registry.make("fisher", 0.1, learned={"sigma": 2.5}).learned() == {"sigma": 2.5}
    with pytest.raises(ConfigError, match="does not say its sigma"):
        registry.make("fisher", 0.1, learned={"sigma": math.nan})
    with pytest.raises(ConfigError, match="not calibrated"):
        Device(nn.Sequential(), Fisher(0.1), KEY).send(torch.zeros((1, 1, 2, 2)))


def test_partitioning_keeps_the_task_and_hides_the_attribute(digits):
    # The task: odd or even. To hide: whether the digit is round. An attacker never met in training.
    parts = [replace(part, labels=part.labels % 2) for part in (digits.train, digits.test)]
    known, test = parts
    scores, guessed = [], []
    for strength in (0.0, 0.8):
        defence = registry.make("partitioning", strength, private="round")
        network = train(Trainee(lenet(2), "relu4", defence, KEY), known, TrainSettings(epochs=6))
        device = Device(head(network, "relu4"), defence, KEY)
        scores.append(accuracy(device, tail(network, "relu4"), test))
        guessed.append(_linear_attacker(device, known, test))
    assert scores[1] > 0.75, (scores, guessed)
    assert guessed[1] < guessed[0] - 0.08, (scores, guessed)


def _linear_attacker(device, known, test):
    """Share of right guesses of `round` by least squares with a small ridge."""
    sent = device.send(known.images).flatten(1).double()
    centre, spread = sent.mean(0), sent.std(0) + 1e-9
    rows = (sent - centre) / spread
    target = known.facts["round"].double()
    ridge = 0.01 * len(rows) * torch.eye(rows.shape[1])
    weights = torch.linalg.solve(rows.T @ rows + ridge, rows.T @ (target - target.mean()))
    guess = (device.send(test.images).flatten(1).double() - centre) / spread @ weights
    right = (guess + target.mean() > 0.5) == test.facts["round"].bool()
    return float(right.double().mean())


def test_a_private_fact_that_is_not_there_or_tells_nothing_is_refused(digits):
    for private, message in (("age", "no such fact; they have round"), ("one", "two values")):
        data = Labelled(
            digits.train.images, digits.train.labels, {"round": digits.train.facts["round"]}
        )
        if private == "one":
            data.facts["one"] = torch.ones_like(data.labels)
        defence = registry.make("partitioning", 1.0, private=private)
        with pytest.raises(ConfigError, match=message):
            train(Trainee(lenet(), "relu2", defence, KEY), data, TrainSettings(epochs=1))
