"""The server alone: a shadow of the head, trained against its own tail."""

import torch

from privedge_lab.attacks.inversion.query_free import QueryFreeSettings, query_free, shadow_head
from privedge_lab.attacks.inversion.white_box import WhiteBoxSettings
from privedge_lab.attacks.scores import psnr_db
from privedge_lab.attacks.views import QueryFreeView
from privedge_lab.baseline.network import tail
from privedge_lab.baseline.presets import lenet

SETTINGS = QueryFreeSettings(
    lenet(),
    "conv1",
    epochs=2,
    search=WhiteBoxSettings(iterations=60, rate=0.1, smoothness=0.2, eps=1e-8, anneal=True),
)


def seeded():
    return torch.Generator().manual_seed(3)


def view_of(bench):
    sent = bench.device("conv1").send(bench.secret)
    return QueryFreeView(sent, tail(bench.network, "conv1"), bench.images.train)


def test_a_server_without_head_or_device_still_sees_more_than_the_mean_image(bench):
    told = []
    found = query_free(
        view_of(bench), SETTINGS, generator=seeded(), progress=lambda doing, *now: told.append(now)
    )
    assert found.shape == bench.secret.shape
    floor = float(psnr_db(bench.mean_image, bench.secret).mean())
    assert float(psnr_db(found, bench.secret).mean()) > floor + 2
    assert told[:2] == [(1, 2), (2, 2)] and told[-1] == (60, 60)


def test_a_shadow_fits_the_tail_and_leaves_it_alone(bench):
    view = view_of(bench)
    view.tail.zero_grad(set_to_none=True)
    before = {name: value.clone() for name, value in view.tail.state_dict().items()}
    shadow = shadow_head(view, SETTINGS, generator=seeded())
    test = bench.images.test
    with torch.no_grad():
        right = (view.tail(shadow(test.images)).argmax(1) == test.labels).float().mean()
    assert right > 0.8
    assert all(torch.equal(before[name], value) for name, value in view.tail.state_dict().items())
    assert all(value.grad is None for value in view.tail.parameters())
