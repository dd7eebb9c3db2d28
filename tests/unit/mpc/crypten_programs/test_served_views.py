"""What groups see of a served model's run, as tests/unit/mpc/test_coalitions.py looks at RANs'."""

import os
from typing import Any

import numpy as np
import pytest
import torch

from parties.mpc.crypten_backend.served import answered
from parties.mpc.crypten_backend.tensors import whole
from parties.mpc.engine import Engine
from parties.mpc.release import ReleaseKey
from privedge.graph.spec import WORD_BITS, ModelSpec
from privedge.sharing.fixed_point import encode
from privedge.sharing.ring import Words
from tests.unit.mpc.crypten_programs.serving import DEEP, drawn, spec_of
from tests.unit.mpc.crypten_programs.serving import asked as served
from tests.unit.mpc.crypten_programs.test_served_models import inputs
from tests.unit.mpc.explained import recorded, replayed
from tests.unit.mpc.pair import Program, as_words
from tests.unit.mpc.test_coalitions import dealt, halves, run_on, same, same_half
from tests.unit.mpc.test_released_words import dealers_words, left, recognised

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


def one_dead(spec: ModelSpec, seed: int) -> dict[str, np.ndarray]:
    """Parameters of DEEP whose first unit is never above 0."""
    found = drawn(spec, seed)
    found["0.bias"][0] = -20.0
    return found


def alike(spec: ModelSpec, own: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Parameters that give the same answers to these inputs: units in another order, another
    weight of what is always 0, and for labels scores in another order below the greatest one.
    """
    order = np.random.default_rng(3).permutation(np.arange(1, 8))
    order = np.array([0, *order])
    found = {
        "0.weight": own["0.weight"][order],
        "0.bias": own["0.bias"][order],
        "2.weight": own["2.weight"][:, order],
        "2.bias": own["2.bias"].copy(),
    }
    found["2.weight"][:, 0] += 1.5
    if spec.outputs.kind == "label":
        found["2.bias"] -= np.array([0.0, 0.0, 9.0])
    return found


def words(x: np.ndarray, parameters: dict[str, np.ndarray]) -> list[Words]:
    """An input and parameters, as secrets."""
    return [encode(each, what="test") for each in (x, *parameters.values())]


def own_and_alike(spec: ModelSpec) -> tuple[list[Words], list[Words]]:
    """One input, with two owners' parameters that answer it alike. The second class is far behind
    the first, and the third one in between, or with the other owner last.
    """
    own = one_dead(spec, 1)
    own["2.bias"] = np.array([9.0, -6.0, 0.0])
    x = inputs(spec, 2, 1)
    return words(x, own), words(x, alike(spec, own))


@pytest.mark.parametrize("outputs", OUTPUTS, ids=lambda outputs: outputs["kind"])
@pytest.mark.parametrize("party", [0, 1])
def test_a_party_with_the_client_sees_the_same_bytes_if_the_answer_is(party, outputs, monkeypatch):
    """The client shows it the other party's share too; the parameters are the owner's alone."""
    spec = spec_of(DEEP, outputs)
    program, (own, others) = serving(spec), own_and_alike(spec)
    shares = [halves(secret) for secret in own]
    tapes = recorded(program, shares, party)
    again = replayed(program, same_half(shares, others, party), tapes, monkeypatch)
    assert (tapes.outcome.value == again.value).all()
    assert same(tapes.outcome.views[party], again.views[party])
    # Both nonces are a party's to know, so these are what it makes of the two released shares.
    for before, after in zip(tapes.outcome.inner, again.inner, strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("outputs", OUTPUTS, ids=lambda outputs: outputs["kind"])
@pytest.mark.parametrize("party", [0, 1])
def test_a_party_with_the_owner_sees_the_same_bytes_whatever_is_asked(party, outputs, monkeypatch):
    spec = spec_of(DEEP, outputs)
    program = serving(spec)
    parameters = one_dead(spec, 1)
    asked, other = (words(inputs(spec, 2, seed), parameters) for seed in (1, 2))
    shares = [halves(secret) for secret in asked]
    tapes = recorded(program, shares, party)
    again = replayed(program, same_half(shares, other, party), tapes, monkeypatch)
    assert same(tapes.outcome.views[party], again.views[party])
    assert torch.equal(tapes.outcome.inner[party], again.inner[party])


@pytest.mark.parametrize("outputs", OUTPUTS, ids=lambda outputs: outputs["kind"])
def test_a_dealer_with_the_client_sees_the_same_bytes_if_the_answer_is(outputs, monkeypatch):
    """On the tape of other nonces, which is all that the parties have and the group has not."""
    spec = spec_of(DEEP, outputs)
    program, (own, others) = serving(spec), own_and_alike(spec)
    seeds, session = tuple(os.urandom(32) for _ in range(4)), os.urandom(16)
    asked, first = dealt(program, [halves(secret) for secret in own], seeds, session)
    changed = [halves(secret) for secret in others]
    zero = []

    def explaining(self: ReleaseKey, name: str, shape: torch.Size) -> torch.Tensor:
        return zero[0]

    _, second = dealt(program, changed, seeds, session)
    assert (first.value == second.value).all()
    if spec.outputs.kind == "label":
        # The dealer's own tables at other places: without a release the two would be told apart.
        assert not torch.equal(first.inner[0], second.inner[0])
    zero.append(first.shares[0] - second.inner[0])
    monkeypatch.setattr(ReleaseKey, "zero", explaining)
    asked_again, again = dealt(program, changed, seeds, session)
    assert asked == asked_again and asked[0]
    for before, after in zip(first.shares, again.shares, strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("outputs", OUTPUTS, ids=lambda outputs: outputs["kind"])
def test_a_dealer_with_the_owner_is_asked_the_same_whatever_a_client_asks(outputs):
    spec = spec_of(DEEP, outputs)
    seeds, parameters = tuple(os.urandom(32) for _ in range(4)), one_dead(spec, 1)
    seen = [
        dealt(
            serving(spec),
            [halves(secret) for secret in words(inputs(spec, 2, seed), parameters)],
            seeds,
            os.urandom(16),
        )[0]
        for seed in (1, 2)
    ]
    assert seen[0] == seen[1] and seen[0][0]


@pytest.mark.parametrize("outputs", OUTPUTS, ids=lambda outputs: outputs["kind"])
def test_no_group_recognises_a_released_word(outputs):
    """As tests/unit/mpc/test_released_words.py looks at RANs' answers."""
    spec = spec_of(DEEP, outputs)
    outcome = served(spec, drawn(spec, 1), inputs(spec, 20))
    for group in ("dealer", "party 0", "party 1"):
        assert left(outcome, group).size
        assert recognised(outcome, group) == 0
    if spec.outputs.kind == "label":  # entries of the dealer's tables, before they are released
        inner = np.concatenate([as_words(share.reshape(-1)) for share in outcome.inner])
        assert np.isin(inner, dealers_words(outcome)).all()
