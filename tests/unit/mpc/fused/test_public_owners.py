"""Public owners: rivals that can be an answer, on shares as by the rule in whole numbers."""

import numpy as np
import pytest
import torch

from parties.mpc.crypten_backend.engine import CryptenEngine
from parties.mpc.decision import MARGIN_STEPS, Decision
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.network import Distances
from parties.mpc.predict import Rule, decide
from privedge.errors import ShareError
from privedge.ran.rivals import MAX_RIVALS, Rivals
from privedge_lab.reference.clear import ClearEngine
from tests.unit.mpc.fused.test_rivals_rule import cases
from tests.unit.mpc.fused.test_rivals_rule import plainly as of_owners
from tests.unit.mpc.pair import run

STEPS = 900


def plainly(distances, thresholds, rivals, public: int) -> np.ndarray:
    """Owners as without public owners; and a public one that is nearer than all, by the rule."""
    answers = of_owners(distances, thresholds, rivals, STEPS)
    columns = np.zeros((len(distances), public), dtype=np.int64)
    for at, (owners, others) in enumerate(zip(distances.tolist(), rivals.tolist(), strict=True)):
        for one in range(public):
            rest = owners + others[:one] + others[one + 1 :]
            columns[at, one] = all(MARGIN_STEPS * others[one] < STEPS * each for each in rest)
    return np.concatenate([answers, columns], 1)


def given(owners: int, rivals: int, public: int, seed: int):
    """The cases of owners and rivals, and a row in which each public owner is the nearest."""
    distances, limits, others = cases(owners, rivals, seed)
    far = np.full((public, owners), 3000), np.full((public, rivals), 2000)
    far[1][np.arange(public), np.arange(public)] = 7
    return np.concatenate([distances, far[0]]), limits, np.concatenate([others, far[1]])


def decided(distances, limits, rivals, public, engine_type):
    def program(engine, values, thresholds, others):
        decision = Decision(engine, margin=STEPS / MARGIN_STEPS, public_owners=public)
        return decision.answer(values, thresholds, others)

    words = (each.view(np.uint64) for each in (distances, limits, rivals))
    return run(program, *words, engine_type=engine_type)


@pytest.mark.parametrize("owners", [1, 2, 5, 16, 17, 40, 257])
@pytest.mark.parametrize(("rivals", "public"), [(1, 1), (2, 2), (20, 2), (MAX_RIVALS, 8)])
def test_answers_are_those_of_the_rule(owners, rivals, public):
    distances, limits, others = given(owners, rivals, public, owners)
    expected = plainly(distances, limits, others, public)
    assert (expected[-public:, owners:] == np.eye(public)).all()
    outcome = decided(distances, limits, others, public, FusedEngine)
    assert (outcome.value.view(np.int64) == expected).all()
    tensors = map(torch.from_numpy, (distances, limits, others))
    clear = Decision(ClearEngine(), margin=STEPS / MARGIN_STEPS, public_owners=public)
    assert (clear.answer(*tensors).numpy() == expected).all()


@pytest.mark.parametrize("owners", [1, 17])
def test_answers_of_the_reference_engine_are_those_of_the_rule(owners):
    distances, limits, others = given(owners, 5, 2, 3)
    outcome = decided(distances, limits, others, 2, CryptenEngine)
    assert (outcome.value.view(np.int64) == plainly(distances, limits, others, 2)).all()


@pytest.mark.parametrize("owners", [1, 2, 15, 16, 17, 257])
def test_public_owners_take_no_round(owners):
    distances, limits, others = given(owners, 20, 2, 0)
    with_them = decided(distances, limits, others, 2, FusedEngine)
    without = decided(distances, limits, others, 0, FusedEngine)
    assert with_them.sessions[0].rounds == without.sessions[0].rounds


@pytest.mark.parametrize(("rivals", "public"), [(1, 2), (None, 1)])
def test_more_public_owners_than_rivals_are_refused(rivals, public):
    distances, limits, others = map(torch.from_numpy, cases(2, rivals or 1, 0))
    decision = Decision(ClearEngine(), margin=0.5, public_owners=public)
    with pytest.raises(ShareError, match="public owners"):
        decision.answer(distances, limits, others if rivals else None)


def test_a_check_at_enrolment_takes_a_public_owner_for_nobody():
    rivals = Rivals.of(np.zeros((2, 4), np.float32), (4,))
    near = Distances(torch.tensor([[900, 900]]), torch.tensor([[1, 800]]))
    limits = torch.tensor([1000, 1000])
    rule = Rule(margin=0.5, rivals=rivals, public_owners=1)
    assert decide(ClearEngine(), near, limits, rule).tolist() == [[0, 0, 1]]
    anybody = Rule(margin=0.5, rivals=rivals, public_owners=1, anybody_but=(0,))
    assert decide(ClearEngine(), near, limits, anybody).tolist() == [[0]]


@pytest.mark.parametrize("one_subject", [False, True])
def test_verify_answers_about_the_named_owner(one_subject):
    rivals = Rivals.of(np.zeros((2, 4), np.float32), (4,))
    given = Distances(torch.tensor([[5, 900], [6, 900]]), torch.tensor([[800, 800], [700, 700]]))
    rule = Rule(0.5, one_subject, verify_position=0, rivals=rivals, public_owners=2)
    limits = torch.tensor([1 << 20, 1 << 20])
    expected = [[1]] if one_subject else [[1], [1]]
    assert decide(ClearEngine(), given, limits, rule).tolist() == expected
