"""The torch network of a spec: its names, and each layer against its definition."""

import math

import pytest
import torch

from privedge.ran.discriminator import Discriminator
from privedge.ran.feature_kinds import Pixels
from privedge.ran.model import Reconstructor, initialise
from privedge.ran.presets import PRESETS, preset
from privedge.ran.spec import (
    Conv,
    ImageShape,
    Layer,
    LeakyRelu,
    RanSpec,
    SampleNorm,
    Square,
    Subspace,
    Upsample,
)


def one_layer(*layers: Layer) -> RanSpec:
    image = ImageShape(height=8, width=8, channels=1)
    return RanSpec(name="one", image=image, features=Pixels(), layers=layers)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_named_and_shaped_as_the_spec_says(name):
    spec = preset(name, height=32, width=32, channels=1)
    state = Reconstructor(spec).state_dict()
    expected = spec.parameters()
    del expected["threshold"]
    assert {key: tuple(value.shape) for key, value in state.items()} == expected
    assert all(value.dtype == torch.float32 for value in state.values())


@pytest.mark.parametrize("name", PRESETS)
def test_a_reconstruction_has_the_shape_of_its_input(name):
    spec = preset(name, height=32, width=32, channels=3)
    reconstructor = Reconstructor(spec)
    initialise(reconstructor, torch.Generator().manual_seed(1))
    features = random(2, *spec.input_shape)
    assert reconstructor(features).shape == features.shape


def test_sample_norm_is_over_the_whole_sample_with_eps_beside_the_deviation():
    reconstructor = Reconstructor(one_layer(SampleNorm(eps=0.1)))
    reconstructor.load_state_dict({"0.gamma": torch.tensor([3.0]), "0.beta": torch.tensor([-1.0])})
    x = random(2, 1, 8, 8)
    for sample, normed in zip(x, reconstructor(x), strict=True):
        deviation = sample.std(unbiased=False)
        expected = (sample - sample.mean()) / (deviation + 0.1) * 3 - 1
        torch.testing.assert_close(normed, expected)


def test_sample_norm_of_a_constant_sample_has_a_finite_gradient():
    reconstructor = Reconstructor(one_layer(SampleNorm()))
    x = torch.zeros(1, 1, 8, 8, requires_grad=True)
    torch.autograd.backward(reconstructor(x).sum())
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_a_lopsided_padding_goes_left_right_top_bottom():
    reconstructor = Reconstructor(one_layer(Conv(channels=1, kernel=4, padding=(1, 2, 0, 3))))
    initialise(reconstructor, torch.Generator().manual_seed(2))
    x = random(1, 1, 8, 8)
    state = reconstructor.state_dict()
    padded = torch.nn.functional.pad(x, (1, 2, 0, 3))
    expected = torch.nn.functional.conv2d(padded, state["0.weight"], state["0.bias"])
    torch.testing.assert_close(reconstructor(x), expected)


def test_upsampling_repeats_the_nearest_value():
    spec = one_layer(Conv(channels=1, kernel=2, stride=2), Upsample(factor=2))
    reconstructor = Reconstructor(spec)
    initialise(reconstructor, torch.Generator().manual_seed(3))
    x = random(1, 1, 8, 8)
    small = reconstructor[0](x)
    expected = torch.nn.functional.interpolate(small, scale_factor=2, mode="nearest")
    assert torch.equal(reconstructor(x), expected)


@pytest.mark.parametrize(("kernel", "padding"), [(4, (1, 2, 1, 2)), (3, (1, 1, 1, 1))])
def test_upsampling_and_convolving_in_one_product_is_the_same_as_one_after_the_other(
    kernel, padding
):
    layers = (
        Conv(channels=3, kernel=2, stride=2),
        Upsample(factor=2),
        Conv(channels=5, kernel=kernel, padding=padding),
        Conv(channels=1, kernel=1),
    )
    reconstructor = Reconstructor(one_layer(*layers))
    initialise(reconstructor, torch.Generator().manual_seed(3))
    state = reconstructor.state_dict(keep_vars=True)
    small = reconstructor[0](random(2, 1, 8, 8))

    larger = torch.nn.functional.interpolate(small, scale_factor=2, mode="nearest")
    expected = torch.nn.functional.conv2d(
        torch.nn.functional.pad(larger, padding), state["2.weight"], random(5, seed=1)
    )
    state["2.bias"].data = random(5, seed=1)
    found = reconstructor[2](reconstructor[1](small))
    torch.testing.assert_close(found, expected)

    toward = random(*expected.shape, seed=2)
    given = (state["2.weight"], small)
    slopes = torch.autograd.grad((found * toward).sum(), given, retain_graph=True)
    torch.testing.assert_close(slopes, torch.autograd.grad((expected * toward).sum(), given))


def test_activations_are_as_the_spec_defines_them():
    x = random(1, 1, 8, 8)
    leaky = Reconstructor(one_layer(LeakyRelu(slope=0.3)))(x)
    square = Reconstructor(one_layer(Square(weight=0.25)))(x)
    torch.testing.assert_close(leaky, 0.3 * x + 0.7 * x.clamp(min=0))
    torch.testing.assert_close(square, x + 0.25 * x**2)


def test_a_subspace_returns_what_lies_in_it_and_the_mean_otherwise():
    reconstructor = Reconstructor(one_layer(Subspace(components=1)))
    axis, mean = torch.zeros(1, 64), torch.full((64,), 2.0)
    axis[0, 5] = 1
    reconstructor.load_state_dict({"0.basis": axis, "0.mean": mean})
    x = random(1, 1, 8, 8)
    expected = mean.clone()
    expected[5] = x.flatten()[5]
    torch.testing.assert_close(reconstructor(x).flatten(), expected)


def test_weights_are_glorot_uniform_and_biases_zero():
    spec = preset("conv32", height=32, width=32, channels=1)
    reconstructor = Reconstructor(spec)
    initialise(reconstructor, torch.Generator().manual_seed(4))
    for name, value in reconstructor.state_dict().items():
        if name.endswith("bias"):
            assert not value.any()
            continue
        area = math.prod(value.shape[2:])
        bound = math.sqrt(6 / (area * (value.shape[0] + value.shape[1])))
        assert 0.9 * bound < value.abs().max() <= bound


def test_building_a_network_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    reconstructor = Reconstructor(preset("paper", height=32, width=32, channels=3))
    initialise(reconstructor, torch.Generator().manual_seed(5))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_discriminator_of_an_image_is_the_papers():
    discriminator = Discriminator((3, 32, 32), width=64)
    assert sum(value.numel() for value in discriminator.parameters()) == 2_764_743
    assert discriminator(random(2, 3, 32, 32)).shape == (2, 1, 2, 2)


@pytest.mark.parametrize(
    ("shape", "scores"),
    [
        ((8, 8, 8), (2, 1, 2, 2)),
        ((1, 64, 64), (2, 1, 4, 4)),
        ((4, 2, 3), (2, 1, 1, 1)),
        ((512, 1, 1), (2, 1)),
        ((864,), (2, 1)),
    ],
)
def test_a_discriminator_fits_any_features(shape, scores):
    assert Discriminator(shape, width=4)(random(2, *shape)).shape == scores
