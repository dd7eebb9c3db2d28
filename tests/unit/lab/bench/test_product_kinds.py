"""The products that the bench measures are those that parties ask their dealer for."""

import math

import pytest

from parties.mpc.fixed_product import FixedProduct
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.network import Network
from privedge.ran.feature_kinds import Oriented
from privedge.ran.presets import PRESETS
from privedge.ran.spec import Conv, Dense, ImageShape, RanSpec, Square, Subspace
from privedge_lab.bench import product_kinds, system
from tests.unit.mpc.models import SPECS, batch, cohort
from tests.unit.mpc.pair import fresh_masks, run

BACK = RanSpec(
    name="there-and-back",
    image=ImageShape(height=8, width=8, channels=1),
    features=Oriented(cell=4),
    layers=(Subspace(components=3), Square()),
)


def asked_for(spec, owners, images):
    """The fixed products of a later query of a snapshot, as one party's record has them."""
    parameters = cohort(spec, owners)

    def program(engine, x, *stacked):
        shared = dict(zip(parameters, stacked, strict=True))
        return Network(spec, shared, engine).dissimilarity(x)

    secrets, masked = (batch(spec, images), *parameters.values()), fresh_masks()
    for _ in range(2):
        outcome = run(program, *secrets, engine_type=FusedEngine, masked=masked)
    kinds = [kind for kind, _ in outcome.views[0].tuples]
    return [kind for kind in kinds if isinstance(kind, FixedProduct)]


@pytest.mark.parametrize("spec", [*SPECS, BACK], ids=lambda spec: spec.name)
@pytest.mark.parametrize(("owners", "images"), [(1, 1), (3, 2)])
def test_the_products_are_those_of_a_real_run(spec, owners, images):
    found = product_kinds.of_query(spec, owners, images)
    assert found == asked_for(spec, owners, images) != []


def test_there_and_back_again_is_a_dense_map_and_its_transpose():
    found = product_kinds.of_query(BACK, owners=2)
    assert [kind.map for kind in found] == ["dense", "dense_back"]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("owners", [1, 10])
def test_every_preset_has_a_product_for_each_layer_with_weights(name, owners):
    spec = system.spec_of(name)
    found = product_kinds.of_query(spec, owners)
    layers = [layer for layer in spec.layers if isinstance(layer, Conv | Dense)]
    # A subspace alone is two: along the basis, and along the mean.
    assert len(found) == (len(layers) or 2)
    shapes = spec.parameters()
    for kind in found:
        assert kind.weight[0] == owners
        assert math.prod(kind.weight[1:]) == math.prod(shapes[kind.name])
        assert math.prod(kind.derived[0]) > 0


def test_equal_shapes_are_one_product_whatever_their_weights_are_called():
    kinds = [FixedProduct("dense", name, (2, 3, 4), (1, 1, 4)) for name in ("0.w", "3.w")]
    other = FixedProduct("dense_back", "0.w", (2, 3, 4), (2, 1, 3))
    assert len(product_kinds.distinct([*kinds, other, kinds[0]])) == 2
