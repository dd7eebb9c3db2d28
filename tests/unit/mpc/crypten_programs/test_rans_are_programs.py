"""A RAN written in CrypTen's operations is the fused engine's protocol: tuple by tuple."""

import numpy as np
import pytest

from parties.mpc.crypten_backend.program_engine import ProgramEngine
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.predict import Rule, predict
from privedge.ran.presets import PRESETS, preset
from privedge_lab.reference import run as reference
from tests.unit.mpc.models import SPECS, batch, cohort
from tests.unit.mpc.pair import fresh_masks

SIZES = {"subspace-writer": (64, 128), "subspace-writer-fine": (64, 128)}
ENGINES = {"fused": FusedEngine, "program": ProgramEngine}
RULES = {"margin": Rule(margin=0.9), "mean": Rule(margin=0.9, mean_share=0.5)}


def asked(spec, owners: int, engine, masked, rule: Rule):
    parameters, images = cohort(spec, owners), batch(spec, 2)
    names = list(parameters)

    def program(engine, x, *stacked):
        return predict(engine, spec, dict(zip(names, stacked, strict=True)), x, rule)

    outcome = reference.run(
        program,
        images,
        *parameters.values(),
        masked=masked,
        engine=lambda session, mine: engine(session, mine),
    )
    session = outcome.sessions[0]
    return outcome.value, session.tuples.used, session.phases


def both(spec, owners: int, rule: Rule, *, queries: int) -> None:
    """The first query on some weights, which opens them, and others."""
    kept = {name: fresh_masks() for name in ENGINES}
    for _ in range(queries):
        fused, program = (
            asked(spec, owners, engine, kept[name], rule) for name, engine in ENGINES.items()
        )
        assert program[1:] == fused[1:]
        assert (program[0] == fused[0]).all()
        assert np.isin(program[0], (0, 1)).all()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_small_specs_with_a_group_too_many(spec, rule):
    both(spec, 17, RULES[rule], queries=2)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset(name):
    height, width = SIZES.get(name, (64, 64) if "64" in name else (32, 32))
    both(preset(name, height=height, width=width, channels=1), 2, RULES["margin"], queries=1)
