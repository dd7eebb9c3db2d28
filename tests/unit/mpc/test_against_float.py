"""The fixed-point network is the float network that the owner trained, within a stated error."""

import numpy as np
import pytest
import torch

from parties.mpc.fused.engine import FusedEngine
from parties.mpc.network import Network
from privedge.ran.feature_kinds import Pixels
from privedge.ran.model import Reconstructor, initialise
from privedge.ran.presets import preset
from privedge.ran.spec import (
    Clip,
    Conv,
    ImageShape,
    Layer,
    LeakyRelu,
    RanSpec,
    Relu,
    SampleNorm,
    Tanh,
    Upsample,
)
from privedge.sharing.fixed_point import encode
from privedge.user.fitting import fit_ran
from privedge.user.settings import settings_for
from privedge_lab.reference.clear import ClearEngine
from tests.unit.mpc.pair import as_tensor, run

# Of a dissimilarity; a spline in place of tanh is off by 0.0008 in each value.
TOLERANCE = 2e-3
SIDE = 16


def like_paper(last: Layer) -> RanSpec:
    """Its stages, with fewer and narrower ones."""
    layers: list[Layer] = []
    for width in (4, 8):
        layers += [Conv(channels=width, kernel=4, stride=2, padding=(1, 1, 1, 1))]
        layers += [LeakyRelu(slope=0.2), SampleNorm()]
    for width in (8, 4):
        layers += [Upsample(), Conv(channels=width, kernel=4, padding=(1, 2, 1, 2))]
        layers += [Relu(), SampleNorm()]
    layers += [Conv(channels=3, kernel=4, padding=(1, 2, 1, 2)), last]
    image = ImageShape(height=SIDE, width=SIDE, channels=3)
    return RanSpec(name="like-paper", image=image, features=Pixels(), layers=tuple(layers))


def pictures(count: int) -> np.ndarray:
    """uint8 (count, SIDE, SIDE, 3): bright discs anywhere on a dark ground."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    centres, tints = rng.uniform(3, SIDE - 3, (count, 2)), rng.uniform(0.5, 1, (count, 3))
    inside = [np.hypot(rows - y, columns - x) < 4 for y, x in centres]
    return np.uint8(np.stack(inside)[..., None] * 220 * tints[:, None, None] + 20)


def given(count: int) -> np.ndarray:
    return np.float32(pictures(count).transpose(0, 3, 1, 2) / 127.5 - 1)


def by_torch(spec: RanSpec, parameters: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    network = Reconstructor(spec)
    network.load_state_dict({k: torch.from_numpy(parameters[k]) for k in network.state_dict()})
    with torch.no_grad():
        gap = network(torch.from_numpy(images)).numpy() - images
    return (gap.astype(np.float64) ** 2).reshape(len(images), -1).sum(1)


def fixed(engine, spec: RanSpec, names: list[str], x, *stacked):
    return Network(spec, dict(zip(names, stacked, strict=True)), engine).dissimilarity(x)


def assert_close(spec: RanSpec, parameters: dict[str, np.ndarray], images: np.ndarray) -> None:
    expected = by_torch(spec, parameters, images)
    names = list(parameters)
    words = [encode(parameters[name][None]) for name in names]
    clear = fixed(
        ClearEngine(), spec, names, as_tensor(encode(images)), *map(as_tensor, words)
    ).numpy()
    outcome = run(
        lambda engine, x, *stacked: fixed(engine, spec, names, x, *stacked),
        encode(images),
        *words,
        engine_type=FusedEngine,
    )
    for distances in (clear, outcome.value.view(np.int64)):
        assert abs(distances[:, 0] / 2**32 / expected - 1).max() < TOLERANCE


def untrained(spec: RanSpec) -> dict[str, np.ndarray]:
    network = Reconstructor(spec)
    initialise(network, torch.Generator().manual_seed(3))
    return {name: value.numpy() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("last", [Tanh(), Clip()], ids=lambda layer: layer.kind)
def test_an_untrained_network(last):
    spec = like_paper(last)
    assert_close(spec, untrained(spec), given(6))


@pytest.mark.parametrize("last", [Tanh(), Clip()], ids=lambda layer: layer.kind)
def test_a_briefly_trained_network(last):
    spec = like_paper(last)
    settings = settings_for(
        spec, steps=60, batch=16, learning_rate=5e-3, discriminator_width=4, check_every=20
    )
    ran = fit_ran(pictures(40), spec, settings, owner="someone")
    rebuilt_worse = by_torch(spec, untrained(spec), given(6)).mean()
    assert by_torch(spec, ran.parameters, given(6)).mean() < rebuilt_worse / 2
    assert_close(spec, {k: v for k, v in ran.parameters.items() if k != "threshold"}, given(6))


def test_the_paper_preset_at_its_real_size():
    spec = preset("paper", height=32, width=32, channels=3)
    images = np.random.default_rng(2).uniform(-1, 1, (1, *spec.input_shape)).astype(np.float32)
    parameters = untrained(spec)
    expected = by_torch(spec, parameters, images)
    stacked = {name: as_tensor(encode(value[None])) for name, value in parameters.items()}
    got = Network(spec, stacked, ClearEngine()).dissimilarity(as_tensor(encode(images)))
    assert abs(got[:, 0].numpy() / 2**32 / expected - 1).max() < TOLERANCE
