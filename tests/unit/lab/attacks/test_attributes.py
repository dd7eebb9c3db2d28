"""Attribute inference finds what is there to be found, in any shape, and nothing in noise."""

import pytest
import torch

from privedge.errors import TrainingError
from privedge_lab.attacks.attributes import AttackerSettings, AttributeScore, infer_attribute
from privedge_lab.attacks.views import AttributeView

QUICK = AttackerSettings(seeds=(0, 1), epochs=15, patience=4)


def attacked(
    sent: torch.Tensor, attribute: torch.Tensor, settings: AttackerSettings = QUICK
) -> AttributeScore:
    known = len(sent) // 2
    view = AttributeView(sent[known:], sent[:known], attribute[:known])
    return infer_attribute(view, attribute[known:], settings)


def made(shape: tuple[int, ...], count: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    attribute = (torch.rand(count, generator=generator) < 0.4).long()
    return torch.randn((count, *shape), generator=generator), attribute


def test_a_shifted_value_gives_the_attribute_away():
    sent, attribute = made((6,))
    sent[:, 2] += 4 * attribute
    found = attacked(sent, attribute)
    assert found.strongest.test.value > 0.93
    assert found.above_majority > 0.3
    assert found.strongest.test.count == 200
    assert 0 < found.strongest.test.plus_minus < 0.05


def test_what_only_a_product_of_values_shows_is_found_by_a_deeper_attacker():
    sent, attribute = made((4,), count=1200)
    sent[:, 0] = torch.where(attribute == 1, sent[:, 1].sign(), -sent[:, 1].sign())
    found = attacked(sent, attribute)
    linear = max(each.test.value for each in found.attackers if each.architecture == "linear")
    assert found.strongest.architecture != "linear"
    assert found.strongest.test.value > 0.95 > 0.7 > linear


def test_a_pattern_at_a_random_place_is_found_by_convolution():
    sent, attribute = made((1, 8, 8), count=800)
    places = torch.randint(6, (2, len(sent)), generator=torch.Generator().manual_seed(1))
    for image, one, row, column in zip(sent, attribute, *places, strict=True):
        if one:
            image[0, row : row + 3, column : column + 3] += 2.5
    found = attacked(sent, attribute)
    assert found.strongest.architecture == "deep"
    assert found.strongest.test.value > 0.9


def test_noise_tells_no_more_than_the_majority():
    sent, attribute = made((3, 4, 4), count=800)
    found = attacked(sent, attribute)
    assert found.majority > 0.5
    # Five standard deviations of a share of 400 guesses.
    assert found.above_majority < 5 * 0.025
    assert found.bound.test.value >= found.strongest.test.value
    assert len(found.attackers) == 6


def test_the_same_settings_give_the_same_scores():
    sent, attribute = made((5,))
    torch.manual_seed(1)
    first = attacked(sent, attribute)
    torch.manual_seed(2)
    assert attacked(sent, attribute) == first


def test_a_constant_or_far_out_value_does_no_harm():
    sent, attribute = made((6,))
    sent[:, 2] += 4 * attribute
    sent[:200, 0], sent[200:, 0] = 1.0, 1e9
    assert attacked(sent, attribute).strongest.test.value > 0.85


def test_views_that_nothing_can_be_learnt_from_are_refused():
    sent, attribute = made((6,))
    with pytest.raises(TrainingError, match="known images"):
        attacked(sent, torch.zeros_like(attribute))
    with pytest.raises(TrainingError, match="same cut"):
        infer_attribute(AttributeView(sent[:, :3], sent, attribute), attribute)
    with pytest.raises(TrainingError, match="one attribute for each"):
        infer_attribute(AttributeView(sent, sent, attribute), attribute[:10])
