"""The named architectures: their facts, and which one `auto` chooses."""

import math

import pytest

from privedge.errors import CheckpointError, ConfigError
from privedge.ran.feature_kinds import Encoder, EncoderInput, Pixels
from privedge.ran.presets import ENCODER_PRESETS, PRESETS, behind_encoder, preset, with_encoder
from privedge.ran.spec import Dense, ImageShape, LeakyRelu, RanSpec, Relu, SampleNorm, Subspace


def named(name: str, *, channels: int = 1, components: int | None = None) -> RanSpec:
    return preset(name, height=32, width=32, channels=channels, components=components)


def parameters(spec: RanSpec) -> int:
    return sum(math.prod(shape) for name, shape in spec.parameters().items()) - 1  # threshold


def activations(spec: RanSpec, kind: type) -> int:
    pairs = zip(spec.layers, spec.shapes(), strict=True)
    return sum(math.prod(shape) for layer, shape in pairs if isinstance(layer, kind))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_valid_spec_that_survives_its_own_text(name, channels):
    spec = named(name, channels=channels)
    assert spec.name == name
    assert RanSpec.from_json(spec.to_json()) == spec


def test_the_paper_preset_is_the_published_network():
    spec = named("paper")
    assert spec.input_shape == (3, 32, 32)
    norms = sum(isinstance(layer, SampleNorm) for layer in spec.layers)
    assert parameters(spec) == 4_757_539 + 2 * norms
    assert norms == 10
    assert activations(spec, LeakyRelu) == 15_104
    assert activations(spec, Relu) == 119_808
    narrowest = [shape for shape in spec.shapes() if shape == (256, 1, 1)]
    assert narrowest


def test_conv32_is_the_benchmark_network():
    assert activations(named("conv32"), Relu) == 13_312


def test_the_ran_presets_need_512_comparisons_and_the_fine_ones_a_quarter():
    for name in ("ran32", "ran64"):
        assert activations(named(name), Relu) == 512
        assert named(name).input_shape == (8, 8, 8)
        assert activations(named(f"{name}-fine"), Relu) == 128
        assert named(f"{name}-fine").features == named(f"subspace{name[3:]}-fine").features


@pytest.mark.parametrize(
    ("height", "width", "channels", "chosen"),
    [
        (32, 32, 3, "ran32-fine"),
        (8, 8, 1, "ran32-fine"),
        (40, 30, 1, "ran64-fine"),
        (64, 64, 3, "ran64-fine"),
        (3000, 4000, 3, "ran64-fine"),
        (64, 128, 1, "subspace-writer-fine"),
        (30, 90, 1, "subspace-writer-fine"),
        (64, 128, 3, "ran64-fine"),
    ],
)
def test_auto_goes_by_size(height, width, channels, chosen):
    assert preset("auto", height=height, width=width, channels=channels).name == chosen


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        ({"pictures": 5}, "ran32-fine"),
        ({"pictures": 4}, "subspace32-fine"),
        ({"components": 8}, "subspace32-fine"),
        ({"components": 8, "pictures": 50}, "subspace32-fine"),
    ],
)
def test_auto_takes_a_subspace_for_few_pictures_and_with_components(choice, chosen):
    assert preset("auto", height=32, width=32, **choice).name == chosen


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match="ran32"):
        named("resnet")


def test_a_cohort_can_have_fewer_components():
    spec = named("subspace32", components=24)
    assert spec.layers == (Subspace(components=24),)
    assert spec.digest() != named("subspace32").digest()


@pytest.mark.parametrize(("name", "components"), [("ran32", 8), ("subspace32", 512)])
def test_components_that_do_not_fit_are_refused(name, components):
    with pytest.raises(ConfigError, match="components"):
        named(name, components=components)


IMAGE = ImageShape(height=112, width=112, channels=3)
ENCODER = Encoder(sha256="a" * 64, output=(128,))


def test_a_subspace_takes_an_encoder_and_a_network_for_maps_does_not():
    assert with_encoder(named("subspace32"), ENCODER, IMAGE).input_shape == (128,)
    with pytest.raises(ConfigError, match=r"ran32: .* use subspace-encoder or ran-encoder"):
        with_encoder(named("ran32"), ENCODER, IMAGE)


def test_a_dense_network_gets_the_size_of_the_encoder():
    spec = RanSpec(
        name="small",
        image=IMAGE,
        features=Pixels(),
        layers=(Dense(features=9), Relu(), Dense(features=3 * 112 * 112)),
    )
    changed = with_encoder(spec, ENCODER, IMAGE)
    assert changed.layers == (Dense(features=9), Relu(), Dense(features=128))
    assert changed.shapes()[-1] == (128,)


@pytest.mark.parametrize("name", ENCODER_PRESETS)
@pytest.mark.parametrize("output", [(128,), (4, 3, 5), (2,)])
def test_a_preset_for_encoders_fits_every_output(name, output):
    encoder = Encoder(sha256="a" * 64, output=output)
    spec = behind_encoder(name, encoder, IMAGE)
    assert spec.name == name
    assert spec.input_shape == output
    assert spec.shapes()
    assert RanSpec.from_json(spec.to_json()) == spec


def test_auto_is_a_mean_and_few_components_behind_an_encoder():
    assert behind_encoder("auto", ENCODER, IMAGE).layers == (Subspace(components=4),)
    assert behind_encoder("auto", ENCODER, IMAGE, components=9).layers == (Subspace(components=9),)


@pytest.mark.parametrize(
    ("name", "components", "said"),
    [("ran-encoder", 3, "has no components"), ("auto", 128, "from 1 to 127"), ("no", None, "no")],
)
def test_what_does_not_fit_behind_an_encoder_is_refused(name, components, said):
    with pytest.raises(ConfigError, match=said):
        behind_encoder(name, ENCODER, IMAGE, components=components)


@pytest.mark.parametrize("name", ENCODER_PRESETS)
def test_a_preset_for_encoders_asks_for_one(name):
    with pytest.raises(ConfigError, match="--encoder"):
        named(name)


def test_three_scales_need_three_channels():
    encoder = Encoder(sha256="a" * 64, output=(8,), input=EncoderInput(scale=(1.0, 2.0, 3.0)))
    spec = behind_encoder("auto", encoder, ImageShape(height=32, width=32, channels=1))
    with pytest.raises(CheckpointError, match="three channels"):
        spec.shapes()


def test_an_encoder_with_too_few_outputs_is_refused():
    image = ImageShape(height=32, width=32, channels=1)
    encoder = Encoder(sha256="a" * 64, output=(64,))
    with pytest.raises(ConfigError, match=r"more components than fit 64 .*use subspace-encoder"):
        with_encoder(named("subspace32"), encoder, image)
    spec = behind_encoder("subspace32", encoder, image, components=5)
    assert (spec.name, spec.components) == ("subspace32-encoder", 5)
    one = Encoder(sha256="a" * 64, output=(1,))
    for preset_name in ("auto", "subspace32"):
        with pytest.raises(ConfigError, match="gives a single number"):
            behind_encoder(preset_name, one, image)
