"""No rounding that a private run may do moves a dissimilarity by more than the bound says."""

import numpy as np
import pytest
import torch

from parties.mpc.crypten_backend.engine import CryptenEngine
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.network import Network
from privedge.ran.presets import preset
from privedge.ran.spec import Subspace
from privedge_lab.reference.clear import ClearEngine
from privedge_lab.reference.rounding import reach, rounded, slopes
from tests.unit.mpc.models import SPECS, batch, cohort
from tests.unit.mpc.pair import as_tensor, run

OWNERS = 3

RAN32 = preset("ran32", height=32, width=32, channels=1)
DEEP = [spec for spec in [*SPECS, RAN32] if not isinstance(spec.layers[0], Subspace)]
(LINEAR,) = (spec for spec in SPECS if isinstance(spec.layers[0], Subspace))


def made(spec, images):
    parameters = {name: as_tensor(words) for name, words in cohort(spec, OWNERS).items()}
    return parameters, as_tensor(batch(spec, images))


def plain(spec, parameters, images):
    return Network(spec, parameters, ClearEngine()).dissimilarity(images).double()


def as_laid_out(values):
    """Additions from (OWNERS, truncations): of one image, all lie owner by owner."""
    done = 0

    def next_ones(shape):
        nonlocal done
        start, done = done, done + shape.numel() // OWNERS
        return values[:, start:done].reshape(shape)

    return next_ones


@pytest.mark.parametrize("spec", [*DEEP, LINEAR], ids=lambda spec: spec.name)
def test_with_nothing_added_the_distances_are_the_plaintext_ones_to_the_last_bit(spec):
    parameters, images = made(spec, 2)
    got = rounded(spec, parameters, images, lambda shape: torch.zeros(shape).double())
    assert torch.equal(got, plain(spec, parameters, images))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("spec", DEEP, ids=lambda spec: spec.name)
def test_the_worst_way_of_rounding_moves_by_the_slopes_and_stays_in_reach(spec, sign):
    parameters, images = made(spec, 1)
    found = sign * slopes(spec, parameters, images)
    worst = rounded(spec, parameters, images, as_laid_out((found > 0).double()))
    moved = sign * (worst - plain(spec, parameters, images))[0]
    first_order = found.clamp(min=0).sum(1)
    limit = reach(spec, parameters, images)[sign > 0][0]
    assert (moved > 0.5 * first_order).all()
    assert (moved < limit).all()


def test_of_a_subspace_the_bound_is_reached_and_never_passed():
    parameters, images = made(LINEAR, 4)
    before = plain(LINEAR, parameters, images)
    fall, rise = reach(LINEAR, parameters, images)
    codes = OWNERS * images.size(0) * LINEAR.layers[0].components
    rng = np.random.default_rng(5)

    def moved(chosen):
        def additions(shape):
            # Behind the codes is the image itself, whose truncation is exact.
            return torch.nn.functional.pad(chosen, (0, shape.numel() - codes))

        return rounded(LINEAR, parameters, images, additions) - before

    each = torch.stack([moved(one) for one in torch.eye(codes).double()])
    assert torch.equal(each.clamp(min=0).sum(0), rise)
    assert torch.equal((-each).clamp(min=0).sum(0), fall)
    for _ in range(50):
        by = moved(torch.from_numpy(rng.integers(0, 2, codes)).double())
        assert (-fall <= by).all() and (by <= rise).all()


@pytest.mark.parametrize("engine_type", [FusedEngine, CryptenEngine])
@pytest.mark.parametrize("spec", [*DEEP, LINEAR], ids=lambda spec: spec.name)
def test_private_runs_stay_in_reach(spec, engine_type):
    stacked, images = cohort(spec, OWNERS), batch(spec, 4)
    names = list(stacked)

    def program(engine, x, *shares):
        return Network(spec, dict(zip(names, shares, strict=True)), engine).dissimilarity(x)

    outcome = run(program, images, *stacked.values(), engine_type=engine_type)
    parameters = {name: as_tensor(words) for name, words in stacked.items()}
    by = as_tensor(outcome.value).double() - plain(spec, parameters, as_tensor(images))
    fall, rise = reach(spec, parameters, as_tensor(images))
    assert by.any()
    assert (-fall <= by).all() and (by <= rise).all()
