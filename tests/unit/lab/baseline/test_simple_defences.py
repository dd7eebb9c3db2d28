"""Noise and dropping: what leaves the device, and which ways of repeating are refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from privedge.errors import ConfigError
from privedge_lab.baseline.defence import Device
from privedge_lab.baseline.defences import registry
from privedge_lab.baseline.defences.counting import counting
from privedge_lab.baseline.draws import KEY_BYTES, SeededDraws, keep_exactly
from privedge_lab.baseline.network import sent_shape
from privedge_lab.baseline.presets import lenet
from privedge_lab.baseline.spec import Linear, NetworkSpec, Plain

KEY = bytes(range(KEY_BYTES))
IMAGES = torch.rand((4, 1, 8, 8), generator=torch.Generator().manual_seed(1))
RANDOM = ("gaussian", "laplace", "dropping", "feature-dropout")


def sent(defence, images=IMAGES):
    return Device(nn.Sequential(nn.Identity()), defence, KEY).send(images)


@pytest.mark.parametrize("name", RANDOM)
def test_asking_again_gives_nothing_new(name):
    defence = registry.make(name, 0.5)
    assert torch.equal(sent(defence), sent(defence))
    assert not torch.equal(sent(defence), IMAGES)


@pytest.mark.parametrize("name", RANDOM)
def test_fresh_draws_are_refused_unless_they_are_to_be_measured(name):
    with pytest.raises(ConfigError, match="fresh draws are unsafe"):
        registry.make(name, 0.5, "fresh")
    measured = registry.make(name, 0.5, "fresh", measuring=True)
    assert not torch.equal(sent(measured), sent(measured))


@pytest.mark.parametrize("name", ["gaussian", "laplace"])
def test_noise_of_a_whole_deployment_is_refused(name):
    with pytest.raises(ConfigError, match="constant"):
        registry.make(name, 0.5, "fixed")


def test_a_fixed_mask_drops_the_same_of_every_image():
    gone = sent(registry.make("dropping", 0.75, "fixed")) == 0
    assert torch.equal(gone[0], gone[3])
    assert gone[0].sum() == 48


def test_dropping_keeps_the_mean_and_feature_dropout_the_values():
    ones = torch.ones((1, 1, 100, 100))
    assert sent(registry.make("dropping", 0.9), ones).mean() == pytest.approx(1)
    assert set(sent(registry.make("feature-dropout", 0.9), ones).unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(
    "name, strength", [("gaussian", -0.1), ("dropping", 1.0), ("feature-dropout", float("nan"))]
)
def test_a_strength_out_of_range_is_refused(name, strength):
    with pytest.raises(ConfigError, match=f"{name}: strength must be at least 0"):
        registry.make(name, strength)


def test_an_unknown_defence_names_those_there_are():
    with pytest.raises(ConfigError, match="there are none, gaussian"):
        registry.make("magic")


def test_values_of_another_defence_are_refused():
    with pytest.raises(ConfigError, match="gaussian: keeps nothing"):
        registry.make("gaussian", 1.0, learned={"sigma": 1.0})


@given(kept=st.integers(1, 24), seed=st.integers(0, 1000))
def test_an_exact_mask_keeps_exactly_that_many(kept, seed):
    draws = SeededDraws(torch.Generator().manual_seed(seed), 3)
    mask = keep_exactly(draws, (2, 3, 4), kept)
    assert mask.shape == (3, 2, 3, 4)
    assert mask.flatten(1).sum(1).tolist() == [kept] * 3


def test_counting_at_a_convolution_asks_of_the_image_and_of_each_patch():
    few = counting(lenet(), "conv1", 0.9)
    assert (few.inputs, few.outputs, few.kept, few.patch) == (784, 4608, 461, 25)
    assert few.holds and few.kept_of_patch == pytest.approx(0.8)
    many = counting(lenet(), "conv1", 0.5)
    assert not many.holds
    assert f"drop at least {many.needed:.3f}" in many.text() and "patch of 25" in many.text()
    assert counting(lenet(), "conv1", many.needed + 0.001).holds
    # conv1 5, pool 2, conv2 5 steps of 2: 5 + 1 + 8.
    assert counting(lenet(), "relu2", 0.0).patch == 14 * 14


@pytest.mark.parametrize(
    "units, drop_rate, holds", [(64, 0, False), (63, 0, True), (640, 0.95, True)]
)
def test_counting_at_a_dense_layer(units, drop_rate, holds):
    dense = NetworkSpec(
        name="dense",
        input=(1, 8, 8),
        mean=(0.5,),
        std=(0.5,),
        classes=2,
        layers=(
            Plain(name="flat", kind="flatten"),
            Linear(name="fc1", inputs=64, outputs=units),
            Linear(name="fc2", inputs=units, outputs=2),
        ),
    )
    counted = counting(dense, "fc1", drop_rate)
    assert counted.patch is None
    assert counted.holds is holds
    assert counted.outputs == sent_shape(dense, "fc1")[0]
