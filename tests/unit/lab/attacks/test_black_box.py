"""Inverse networks, trained on what a device answers."""

import pytest
import torch

from privedge.errors import ConfigError
from privedge_lab.attacks.inversion.black_box import BlackBoxSettings, black_box
from privedge_lab.attacks.inversion.decoders import decoder
from privedge_lab.attacks.scores import psnr_db
from privedge_lab.attacks.views import BlackBoxView
from privedge_lab.baseline.network import sent_shape
from privedge_lab.baseline.presets import cifar, face, lenet


def seeded():
    return torch.Generator().manual_seed(3)


def attack(bench, cut, **settings):
    device = bench.device(cut)
    view = BlackBoxView(device.send(bench.secret), device.send, bench.images.train)
    found = black_box(view, BlackBoxSettings(**settings), generator=seeded())
    assert found.shape == bench.secret.shape
    return float(psnr_db(found, bench.secret).mean())


@pytest.mark.parametrize("cut", ["conv1", "relu2"])
def test_a_decoder_learns_to_undo_a_device(bench, cut):
    floor = float(psnr_db(bench.mean_image, bench.secret).mean())
    assert attack(bench, cut, epochs=3, rate=1e-2, eps=1e-8, known=600) > floor + 2


def test_a_residual_decoder_does_too(bench):
    floor = float(psnr_db(bench.mean_image, bench.secret).mean())
    settings = {"decoder": "residual", "blocks": 1, "channels": 8, "anneal": True, "known": 600}
    assert attack(bench, "relu2", epochs=3, rate=1e-2, eps=1e-8, **settings) > floor + 2


@pytest.mark.parametrize("spec", [lenet(), cifar(), face()], ids=lambda spec: spec.name)
@pytest.mark.parametrize("kind", ["paper", "residual"])
def test_every_cut_has_a_decoder_to_the_images_size(spec, kind):
    for cut in spec.cuts:
        sent = sent_shape(spec, cut)
        network = decoder(kind, sent, spec.input, seeded(), blocks=0, channels=4)
        assert network(torch.zeros(2, *sent)).shape == (2, *spec.input), cut


def test_the_papers_decoders_are_those_of_its_code():
    sizes = [
        sum(each.numel() for each in decoder("paper", sent, (1, 28, 28), seeded()).parameters())
        for sent in ((8, 24, 24), (16, 8, 8))
    ]
    assert sizes == [8 * 25 + 1, (16 * 25 * 8 + 8) + (8 * 25 + 1)]


def test_the_same_seed_gives_the_same_decoder():
    one, two = (decoder("residual", (4, 7, 7), (1, 28, 28), seeded()) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_maps_larger_than_the_image_are_refused():
    with pytest.raises(ConfigError, match="no decoder"):
        decoder("paper", (4, 30, 30), (1, 28, 28), seeded())
