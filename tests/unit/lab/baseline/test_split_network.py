"""A network, cut anywhere, still computes what the whole one does."""

import pytest
import torch

from privedge.errors import CheckpointError, ConfigError
from privedge_lab.baseline.network import build, head, sent_shape, tail
from privedge_lab.baseline.presets import PRESETS, lenet, preset
from privedge_lab.baseline.spec import NetworkSpec


@pytest.mark.parametrize("name", PRESETS)
def test_head_and_tail_together_are_the_network(name):
    spec = preset(name, 5)
    network = build(spec, torch.Generator().manual_seed(1)).eval()
    images = torch.rand((2, *spec.input), generator=torch.Generator().manual_seed(2))
    for cut in spec.cuts:
        sent = head(network, cut)(images)
        assert tuple(sent.shape[1:]) == sent_shape(spec, cut)
        assert torch.equal(tail(network, cut)(sent), network(images))


def test_a_cut_that_is_not_there_names_those_that_are():
    with pytest.raises(ConfigError, match=r"fc9: .*conv1, relu1"):
        head(build(lenet()), "fc9")
    with pytest.raises(ConfigError, match="cannot be cut there"):
        tail(build(lenet()), "fc3")


def test_a_spec_survives_its_text():
    spec = lenet()
    assert NetworkSpec.from_json(spec.to_json(), where="x") == spec


@pytest.mark.parametrize(
    "text", ["{}", "[]", lenet().to_json().replace('"relu1"', '"conv1"'), "\x00"]
)
def test_an_unsound_spec_is_refused_in_one_line(text):
    with pytest.raises(CheckpointError, match=r"^there: network [^\n]*$"):
        NetworkSpec.from_json(text, where="there")


def test_layers_that_do_not_fit_are_refused():
    spec = lenet().model_copy(update={"classes": 11})
    with pytest.raises(ConfigError, match="10"):
        build(spec)
