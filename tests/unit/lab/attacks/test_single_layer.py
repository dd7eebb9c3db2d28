"""One layer as linear equations: exact with enough of them, and not with fewer."""

import pytest
import torch

from privedge.errors import ConfigError
from privedge_lab.attacks.inversion.averaging import asked_again, averaged
from privedge_lab.attacks.inversion.single_layer import SingleLayerSettings, single_layer
from privedge_lab.attacks.scores import psnr_db
from privedge_lab.attacks.views import WhiteBoxView
from privedge_lab.baseline.defence import Defence, Device
from privedge_lab.baseline.defences.dropping import Dropping
from privedge_lab.baseline.defences.noise import Gaussian
from privedge_lab.baseline.draws import KEY_BYTES
from privedge_lab.baseline.network import build, head
from privedge_lab.baseline.spec import Conv, LeakyRelu, Linear, NetworkSpec, Plain

KEY = bytes(KEY_BYTES)
SHAPE = (1, 8, 8)
NON_NEGATIVE = SingleLayerSettings(solver="non-negative")


def images(count=6):
    """Dark images with a bright spot: most pixels are exactly 0, none are negative."""
    drawn = torch.zeros(count, *SHAPE)
    for number in range(count):
        drawn[number, 0, number : number + 3, 2:5] = 0.5 + 0.05 * number
    return drawn


def dense(units, activation="relu"):
    act = (
        LeakyRelu(name="act") if activation == "leaky_relu" else Plain(name="act", kind=activation)
    )
    layers = (
        Plain(name="flat", kind="flatten"),
        Linear(name="fc1", inputs=64, outputs=units),
        act,
        Linear(name="fc2", inputs=units, outputs=3),
    )
    return built(layers)


def built(layers):
    spec = NetworkSpec(name="one", input=SHAPE, mean=(0.5,), std=(0.5,), classes=3, layers=layers)
    return build(spec, torch.Generator().manual_seed(2))


def solved(network, cut, settings=None, defence=None, sent=None):
    defence = defence or Defence()
    if sent is None:
        sent = Device(head(network, cut), defence, KEY).send(images())
    view = WhiteBoxView(sent, head(network, cut), SHAPE, defence)
    generator = torch.Generator().manual_seed(1)
    return single_layer(view, settings or SingleLayerSettings(), generator=generator)


def quality(found):
    assert found.shape == images().shape
    return float(psnr_db(found, images()).mean())


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "leaky_relu"])
def test_as_many_outputs_as_pixels_give_the_image_exactly(activation):
    assert quality(solved(dense(80, activation), "act")) > 50
    assert quality(solved(dense(40, activation), "act")) < 25


def test_a_relu_takes_twice_as_many():
    assert quality(solved(dense(300), "act")) > 50
    assert quality(solved(dense(80), "act")) < 25


def test_a_convolution_is_a_linear_map_too():
    layers = (
        Conv(name="conv1", inputs=1, outputs=4, kernel=3),
        Plain(name="act", kind="relu"),
        Plain(name="flat", kind="flatten"),
        Linear(name="fc", inputs=144, outputs=3),
    )
    assert quality(solved(built(layers), "conv1")) > 50


@pytest.mark.parametrize("drop_rate", [0.0, 0.5])
def test_dropping_to_no_fewer_than_the_pixels_hides_nothing(drop_rate):
    assert quality(solved(dense(160, "tanh"), "act", defence=Dropping(drop_rate))) > 50


def test_dropping_to_fewer_leaves_a_gap_that_what_images_are_like_closes():
    defence = Dropping(0.75)
    plain = quality(solved(dense(160, "tanh"), "act", defence=defence))
    assert plain < 25
    # 40 equations for 64 pixels: but most pixels are 0, and none can be negative.
    assert quality(solved(dense(160, "tanh"), "act", NON_NEGATIVE, defence)) > plain + 10


def test_zeros_of_a_relu_are_inequalities_that_help():
    network = dense(36)
    unknown = quality(solved(network, "act", NON_NEGATIVE))
    bounded = SingleLayerSettings(solver="non-negative", zeros="at-most-0")
    assert quality(solved(network, "act", bounded)) > unknown + 2


def test_fresh_masks_are_undone_by_asking_again():
    network, defence = dense(160, "tanh"), Dropping(0.75, "fresh", measuring=True)
    device = Device(head(network, "act"), defence, KEY)
    once = quality(solved(network, "act", sent=device.send(images()), defence=defence))
    together = averaged(asked_again(device.send, images(), 16))
    assert quality(solved(network, "act", sent=together, defence=defence)) > max(once + 20, 50)


def test_a_mask_per_input_gives_nothing_by_asking_again():
    device = Device(head(dense(160, "tanh"), "act"), Dropping(0.75), KEY)
    answers = asked_again(device.send, images(), 4)
    assert torch.equal(averaged(answers), answers[0])


def test_fresh_noise_is_averaged_away():
    network = dense(80, "leaky_relu")
    device = Device(head(network, "act"), Gaussian(0.3, "fresh", measuring=True), KEY)
    exact = Device(head(network, "act"), Defence(), KEY).send(images())
    answers = asked_again(device.send, images(), 40)
    one, many = answers[0] - exact, averaged(answers) - exact
    # 40 times less variance; 480 values are enough to be far from chance at half of that.
    assert many.square().mean() < one.square().mean() / 20


def test_deeper_heads_are_refused():
    layers = (
        Plain(name="flat", kind="flatten"),
        *(Linear(name=f"fc{place}", inputs=64, outputs=64) for place in (1, 2)),
        Linear(name="fc3", inputs=64, outputs=3),
    )
    with pytest.raises(ConfigError, match="one convolution or dense layer"):
        solved(built(layers), "fc2")
