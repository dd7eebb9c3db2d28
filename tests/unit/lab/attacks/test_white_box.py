"""White-box inversion on real digits."""

from dataclasses import replace

import pytest
import torch

from privedge_lab.attacks.inversion.white_box import (
    WhiteBoxSettings,
    gain,
    kept,
    total_variation,
    white_box,
)
from privedge_lab.attacks.scores import psnr_db
from privedge_lab.attacks.views import WhiteBoxView
from privedge_lab.baseline.defence import Defence
from privedge_lab.baseline.defences.dropping import Dropping
from privedge_lab.baseline.defences.noise import Gaussian
from privedge_lab.baseline.network import head

QUICK = WhiteBoxSettings(iterations=60, rate=0.1, eps=1e-8, anneal=True)
SHAPE = (1, 28, 28)


def seeded():
    return torch.Generator().manual_seed(3)


def view_of(bench, cut, defence=None):
    sent = bench.device(cut, defence).send(bench.secret)
    return WhiteBoxView(sent, head(bench.network, cut), SHAPE, defence or Defence())


def quality(found, bench):
    return float(psnr_db(found, bench.secret).mean())


def test_the_first_layer_gives_the_image_away(bench):
    found = white_box(view_of(bench, "conv1"), QUICK, generator=seeded())
    assert found.shape == bench.secret.shape
    assert found.min() >= 0 and found.max() <= 1
    assert quality(found, bench) > quality(bench.mean_image, bench) + 15


def test_a_dense_layer_leaves_far_less(bench):
    smooth = replace(QUICK, smoothness=0.01)
    found = white_box(view_of(bench, "fc1"), smooth, generator=seeded())
    shallow = white_box(view_of(bench, "conv1"), QUICK, generator=seeded())
    assert quality(found, bench) < quality(shallow, bench) - 15


def test_images_do_not_influence_each_other(bench):
    whole = view_of(bench, "relu2")
    steps = []
    together = white_box(whole, QUICK, generator=seeded())
    alone = white_box(
        replace(whole, sent=whole.sent[:3]),
        replace(QUICK, batch=2),
        generator=seeded(),
        progress=lambda doing, done, total: steps.append((done, total)),
    )
    assert torch.allclose(together[:3], alone, atol=1e-3)
    assert steps == [(step, 120) for step in range(1, 121)]


def test_of_several_starts_each_image_keeps_the_best_fit(bench):
    # Beyond this threshold no gradient comes back from a grey image: its own activations are 0.
    shallow = head(bench.network, "conv1")
    grey = shallow(torch.full((1, *SHAPE), 0.5)).abs().max().item()
    dead = torch.nn.Sequential(*shallow, torch.nn.Threshold(grey, 0.0))
    view = WhiteBoxView(dead(bench.secret).detach(), dead, SHAPE, Defence())
    stuck = white_box(view, QUICK, generator=seeded())
    assert torch.equal(stuck, torch.full_like(stuck, 0.5))
    twice = white_box(view, replace(QUICK, starts=(0.5, 1.0)), generator=seeded())
    assert quality(twice, bench) > quality(stuck, bench) + 3


def test_who_takes_zeros_as_unknown_undoes_dropping(bench):
    view = view_of(bench, "conv1", Dropping(0.5))
    unaware = white_box(view, QUICK, generator=seeded())
    aware = white_box(view, replace(QUICK, masked=True), generator=seeded())
    assert quality(aware, bench) > quality(unaware, bench) + 5


@pytest.mark.parametrize(("defence", "expected"), [(Dropping(0.5), 2.0), (Defence(), 1.0)])
def test_the_scale_of_a_defence_is_found_by_trying_it(bench, defence, expected):
    assert gain(view_of(bench, "conv1", defence), seeded()) == expected


def test_a_fixed_mask_is_known_from_many_images(bench):
    # At a ReLU a 0 that arrives may be the activation's own: only the fixed mask tells them apart.
    defence = Dropping(0.5, "fixed")
    view = view_of(bench, "relu1", defence)
    assert (view.sent == 0).float().mean() > 0.55
    mask = kept(view, seeded())
    assert torch.equal(mask, mask[:1].expand_as(mask))
    assert 0.4 < mask.mean() <= 0.5


def test_without_dropping_a_zero_is_a_zero(bench):
    assert kept(view_of(bench, "relu1"), seeded()).min() == 1
    assert kept(view_of(bench, "relu1", Gaussian(0.1)), seeded()).min() == 1


def test_total_variation_counts_the_steps_between_neighbours():
    flat, edge = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    edge[..., 2:] = 1
    assert total_variation(torch.cat([flat, edge])).tolist() == [0, 4 / 16]
