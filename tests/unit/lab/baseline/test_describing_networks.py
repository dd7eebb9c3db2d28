"""Anybody's nn.Sequential becomes a spec and a network that computes the same."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from privedge.errors import ConfigError
from privedge_lab.baseline.cut_files import CutFiles
from privedge_lab.baseline.defence import Defence
from privedge_lab.baseline.describe import adopt, describe
from privedge_lab.baseline.head_file import load_head, load_key, new_key
from privedge_lab.baseline.model_file import load_tail
from privedge_lab.baseline.network import head, tail
from privedge_lab.baseline.train import Trainee


def layers() -> nn.Sequential:
    """One layer of every kind, some nested."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        nn.MaxPool2d(2),
        nn.Identity(),
        nn.Conv2d(4, 5, 3, stride=2),
        nn.LeakyReLU(0.1),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.4),
        nn.Linear(5, 6),
        nn.Sigmoid(),
        nn.Linear(6, 4),
        nn.Tanh(),
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.5]))
def test_at_every_cut_it_computes_what_the_layers_do(seed, mean):
    torch.manual_seed(seed)
    own = layers()
    with torch.no_grad():  # statistics that are not the initial ones
        own(torch.randn(8, 3, 12, 12))
    own.eval()
    spec = describe(own, input=(3, 12, 12), classes=4, mean=(mean,) * 3, std=(0.25,) * 3)
    network = adopt(own, spec)
    images = torch.rand(2, 3, 12, 12)
    expected = own((images - mean) / 0.25)
    for cut in spec.cuts:
        assert torch.equal(tail(network, cut)(head(network, cut)(images)), expected)


def test_anybodys_layers_become_files_for_a_device_and_a_server(tmp_path):
    own = layers().eval()
    spec = describe(own, input=(3, 12, 12), classes=4)
    files = CutFiles.at(tmp_path, "own")
    files.save(Trainee(spec, "conv2", Defence(), new_key()), adopt(own, spec), {})
    images = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    sent = load_head(files.head).device(load_key(files.key)).send(images)
    assert torch.equal(load_tail(files.tail).layers(sent), own(images))


def test_layers_are_named_by_kind_and_order():
    spec = describe(layers(), input=(3, 12, 12), classes=4)
    assert spec.cuts == (
        "conv1", "norm1", "relu1", "pool1", "conv2", "relu2", "pool2", "flat1", "drop1", "fc1",
        "sigmoid1", "fc2",
    )  # fmt: skip


def test_the_weights_are_copies():
    own = layers()
    network = adopt(own, describe(own, input=(3, 12, 12), classes=4))
    with torch.no_grad():
        own[-2].weight.zero_()
    assert network.fc2.weight.abs().sum() > 0


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 2, 3, bias=False),
        nn.Conv2d(1, 2, 3, dilation=2),
        nn.Conv2d(2, 2, 3, groups=2),
        nn.Conv2d(1, 2, (3, 5)),
        nn.Conv2d(1, 2, 3, padding="same"),
        nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"),
        nn.Linear(4, 2, bias=False),
        nn.BatchNorm2d(1, eps=0.1),
        nn.BatchNorm2d(1, affine=False),
        nn.MaxPool2d(3, stride=2),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.AvgPool2d(2, padding=1),
        nn.Flatten(2),
        nn.GELU(),
        nn.LSTM(1, 1),
    ],
    ids=str,
)
def test_what_a_spec_cannot_say_is_refused_and_named(layer):
    with pytest.raises(ConfigError, match=r"layer 0, .* cannot be described"):
        describe(nn.Sequential(layer, nn.Flatten()), input=(1, 8, 8), classes=2)


def test_layers_that_do_not_fit_the_input_are_refused():
    with pytest.raises(ConfigError, match="do not fit"):
        describe(layers(), input=(3, 30, 30), classes=4)
    with pytest.raises(ConfigError, match="values for 5 classes"):
        describe(layers(), input=(3, 12, 12), classes=5)
    with pytest.raises(ConfigError, match="input"):
        describe(layers(), input=(2, 12, 12), classes=4)


def test_another_networks_spec_is_refused():
    spec = describe(layers(), input=(3, 12, 12), classes=4)
    with pytest.raises(ConfigError, match="not the spec of these layers"):
        adopt(nn.Sequential(nn.Flatten(), nn.Linear(432, 4)), spec)
