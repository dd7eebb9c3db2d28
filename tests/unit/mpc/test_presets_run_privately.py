"""Every preset runs privately at its real size and agrees with plaintext integers."""

import numpy as np
import pytest

from parties.mpc.crypten_backend.engine import CryptenEngine
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.network import Network
from privedge.ran.presets import PRESETS, preset
from privedge_lab.reference.clear import ClearEngine
from tests.unit.mpc.models import batch, cohort
from tests.unit.mpc.pair import as_tensor, run

SIZES = {"subspace-writer": (64, 128), "subspace-writer-fine": (64, 128)}


@pytest.mark.parametrize("engine_type", [FusedEngine, CryptenEngine])
@pytest.mark.parametrize("name", PRESETS)
def test_two_owners_dissimilarities(name, engine_type):
    height, width = SIZES.get(name, (64, 64) if "64" in name else (32, 32))
    spec = preset(name, height=height, width=width, channels=1)
    parameters, images = cohort(spec, 2), batch(spec, 1)
    names = list(parameters)

    def program(engine, x, *stacked):
        return Network(spec, dict(zip(names, stacked, strict=True)), engine).dissimilarity(x)

    clear = {name: as_tensor(words) for name, words in parameters.items()}
    expected = Network(spec, clear, ClearEngine()).dissimilarity(as_tensor(images)).numpy()
    outcome = run(program, images, *parameters.values(), engine_type=engine_type)
    got = outcome.value.view(np.int64)
    assert (abs(got - expected) <= 1e-3 * expected).all()
