"""What groups see of a served model's run, as tests/unit/mpc/test_coalitions.py looks at RANs'."""

from typing import Any

import pytest
import torch

from parties.mpc.crypten_backend.served import answered
from parties.mpc.crypten_backend.tensors import whole
from parties.mpc.engine import Engine
from privedge.graph.spec import WORD_BITS, ModelSpec
from privedge.sharing.fixed_point import encode
from privedge.sharing.ring import Words
from tests.unit.mpc.crypten_programs.serving import DEEP, drawn, spec_of
from tests.unit.mpc.crypten_programs.test_served_models import inputs
from tests.unit.mpc.explained import recorded, replayed
from tests.unit.mpc.pair import Program
from tests.unit.mpc.test_coalitions import halves, run_on, same, same_half

OUTPUTS = [{"kind": "label"}, {"kind": "scores"}, {"kind": "rounded", "bits": 3}]


def serving(spec: ModelSpec) -> Program:
    def program(engine: Engine, x: Any, *weights: Any) -> Any:
        named = dict(zip(spec.parameters(), (each.share for each in weights), strict=True))
        return whole(answered(spec, named, x.share & ((1 << WORD_BITS) - 1)))

    return program


def secrets_of(spec: ModelSpec, seed: int) -> list[Words]:
    """An input and the parameters."""
    parameters = drawn(spec, seed).values()
    return [encode(each, what="test") for each in (inputs(spec, 2, seed), *parameters)]


@pytest.mark.parametrize("outputs", OUTPUTS, ids=lambda outputs: outputs["kind"])
@pytest.mark.parametrize("party", [0, 1])
def test_a_party_sees_the_same_bytes_whatever_others_ask_and_own(party, outputs, monkeypatch):
    spec = spec_of(DEEP, outputs)
    program = serving(spec)
    shares = [halves(secret) for secret in secrets_of(spec, 1)]
    tapes = recorded(program, shares, party)
    changed = same_half(shares, secrets_of(spec, 2), party)
    again = replayed(program, changed, tapes, monkeypatch)
    assert same(tapes.outcome.views[party], again.views[party])
    assert torch.equal(tapes.outcome.inner[party], again.inner[party])
    assert (tapes.outcome.value != again.value).any()
    # The look is one that sees a tape which explains nothing.
    assert not same(tapes.outcome.views[party], run_on(tapes, program, changed).views[party])
