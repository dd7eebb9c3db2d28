"""The strongest of several attackers who reconstruct, and the one who knows such signals."""

import torch
from torch import nn

from privedge_lab.attacks import scores
from privedge_lab.attacks.inversion.decoders import decoder
from privedge_lab.attacks.inversion.prior import with_prior
from privedge_lab.attacks.inversion.single_layer import SingleLayerSettings, single_layer
from privedge_lab.attacks.inversion.strongest import strongest
from privedge_lab.attacks.views import BlackBoxView, WhiteBoxView
from privedge_lab.baseline.defence import Device
from privedge_lab.baseline.defences.dropping import Dropping
from privedge_lab.datasets import Labelled


def smooth(count, seed):
    """Signals (n, 1, 1, 32) in [0, 1] whose neighbouring points go together."""
    generator = torch.Generator().manual_seed(seed)
    waves = torch.stack([torch.sin(torch.arange(32) * step / 10) for step in (1, 2, 3)])
    weights = 0.15 * torch.randn((count, 3), generator=generator)
    return (0.5 + weights @ waves).clamp(0, 1)[:, None, None]


def dense():
    torch.manual_seed(0)
    return nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(32, 64), nn.LeakyReLU(0.2))


def dropped(share, secret):
    layers, defence = dense().requires_grad_(False), Dropping(share)
    sent = Device(layers, defence, bytes(32)).send(secret)
    return WhiteBoxView(sent, layers, (1, 1, 32), defence)


def test_who_knows_such_signals_needs_fewer_equations_than_points():
    known, secret = smooth(200, 1), smooth(20, 2)
    view = dropped(0.85, secret)
    found = with_prior(view, known, generator=torch.Generator())
    counted = single_layer(view, SingleLayerSettings(), generator=torch.Generator())
    # 10 of 64 outputs for 32 points: the counting condition holds.
    assert int((view.sent[0] != 0).sum()) == 10
    assert scores.psnr_db(found, secret).mean() > 40
    assert scores.psnr_db(counted, secret).mean() < 30


def test_the_prior_answers_with_the_mean_where_nothing_arrived():
    known, secret = smooth(200, 1), smooth(3, 2)
    view = dropped(0.85, secret)
    silent = WhiteBoxView(torch.zeros_like(view.sent), view.head, view.image_shape, view.defence)
    found = with_prior(silent, known, generator=torch.Generator())
    assert torch.allclose(found, known.mean(0).expand_as(found), atol=1e-5)


def test_the_strongest_attacker_is_chosen_on_images_that_were_held_out():
    known = Labelled(smooth(200, 1), torch.zeros(200, dtype=torch.int64))
    secret = smooth(20, 2)
    flat = nn.Flatten()
    found = strongest(BlackBoxView(flat(secret), flat, known), seed=0, epochs=1)
    # What is sent is the signal itself, so ridge regression has it after no training at all.
    assert found.attacker == "linear"
    assert scores.psnr_db(found.images, secret).mean() > 30


def test_a_dense_decoder_has_the_shape_of_any_image():
    for sent, image in (((5,), (3, 8, 9)), ((4, 1, 6), (2, 1, 40))):
        network = decoder("dense", sent, image, torch.Generator())
        assert network(torch.zeros((2, *sent))).shape == (2, *image)
