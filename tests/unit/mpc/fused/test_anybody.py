"""The check at enrolment asks whether anybody is named, and nothing but that bit can be opened."""

import numpy as np
import pytest

from parties.mpc.fused.engine import FusedEngine
from parties.mpc.network import Network
from parties.mpc.predict import Rule, predict
from privedge.sharing.combine import combine
from privedge.sharing.fixed_point import SCALE, encode
from privedge.sharing.ring import Words
from privedge_lab.reference.clear import ClearEngine
from tests.chance import SIGMAS, chi_square
from tests.unit.mpc.fused.test_transcripts import bits_differ, bytes_differ, gathered
from tests.unit.mpc.models import SPECS, batch, cohort
from tests.unit.mpc.pair import Outcome, as_tensor, as_words, run

(SPEC,) = (spec for spec in SPECS if spec.name == "subspace")
MARGIN = 0.5
SESSIONS = 40


def means(parameters: dict[str, Words], shift: float = 0.0) -> Words:
    """(N, *input_shape): each owner's mean, somewhat off."""
    flat = parameters["0.mean"] + encode(np.array([shift]))
    return flat.reshape(-1, *SPEC.input_shape)


def asked(parameters: dict[str, Words], images: Words, rule: Rule) -> Outcome:
    names = list(parameters)

    def program(engine, x, *stacked):
        return predict(engine, SPEC, dict(zip(names, stacked, strict=True)), x, rule)

    return run(program, images, *parameters.values(), engine_type=FusedEngine)


def expected(parameters: dict[str, Words], images: Words, but: tuple[int, ...]) -> list[int]:
    """By the rule in plaintext, over a cohort in which the others are all there is."""
    kept = [at for at in range(len(parameters["0.mean"])) if at not in but]
    stacked = {name: as_tensor(words[kept]) for name, words in parameters.items()}
    distances = Network(SPEC, stacked, ClearEngine()).dissimilarity(as_tensor(images)).numpy()
    near = np.sort(distances, axis=1)
    return (near[:, 0] < MARGIN * near[:, 1]).astype(int).tolist()


@pytest.mark.parametrize("owners", [4, 5, 20])
@pytest.mark.parametrize("but", [(), (1,), (0, 2)], ids=str)
def test_the_bit_says_whether_the_rule_names_anybody_but_these(owners, but):
    parameters = cohort(SPEC, owners)
    images = np.concatenate([means(parameters, 0.01), batch(SPEC, 4)])
    found = asked(parameters, images, Rule(MARGIN, anybody_but=but)).value
    assert found.shape == (len(images), 1)
    wanted = expected(parameters, images, but)
    assert found[:, 0].tolist() == wanted
    # Both answers come up, and those left out are not found.
    assert set(wanted) == {0, 1}
    assert not any(wanted[at] for at in but)


def test_a_threshold_counts_as_in_a_query():
    parameters = cohort(SPEC, 4)
    parameters["threshold"] = encode(np.full((4, 1), 1 / SCALE))
    found = asked(parameters, means(parameters, 0.1), Rule(MARGIN, anybody_but=())).value
    assert found[:, 0].tolist() == [0] * 4


def test_a_check_has_the_rounds_and_bytes_of_a_query_of_the_same_owners():
    parameters = cohort(SPEC, 5)
    image = batch(SPEC, 1)
    fewer = {name: words[1:] for name, words in parameters.items()}
    check = asked(parameters, image, Rule(MARGIN, anybody_but=()))
    query = asked(parameters, image, Rule(MARGIN))
    but_one = asked(parameters, image, Rule(MARGIN, anybody_but=(0,)))
    smaller = asked(fewer, image, Rule(MARGIN))
    costs = [
        (outcome.sessions[0].rounds, outcome.sessions[0].bytes_sent) for outcome in (check, query)
    ]
    assert costs[0] == costs[1]
    assert but_one.sessions[0].rounds == smaller.sessions[0].rounds


def checks(person: int | None) -> list[Outcome]:
    """Sessions about a person who is among the owners, or about somebody else."""
    parameters = cohort(SPEC, 3)
    image = batch(SPEC, 1) if person is None else means(parameters, 0.01)[person : person + 1]
    return [asked(parameters, image, Rule(MARGIN, anybody_but=(0,))) for _ in range(SESSIONS)]


@pytest.fixture(scope="module")
def known_and_new() -> tuple[list[Outcome], list[Outcome]]:
    return checks(1), checks(None)


@pytest.mark.parametrize("party", [0, 1])
def test_before_it_opens_the_bit_a_party_sees_nothing_of_it(known_and_new, party):
    """All that it received, and all that was opened, of a known and of a new person."""
    known, new = (
        gathered([outcome.views[party] for outcome in outcomes]) for outcomes in known_and_new
    )
    for some, others in zip(vars(known).values(), vars(new).values(), strict=True):
        assert not bits_differ(some, others)
        assert not bytes_differ(some, others)


@pytest.mark.parametrize("person", [1, None], ids=["known", "new"])
def test_a_share_of_the_bit_alone_is_uniform_and_the_other_one_follows_from_it_and_the_bit(person):
    """So an owner's or operators' rule lets whoever is told learn the bit, and nobody else."""
    parameters = cohort(SPEC, 3)
    image = batch(SPEC, 1) if person is None else means(parameters, 0.01)[person : person + 1]
    many = np.repeat(image, 4000, axis=0)
    shares = asked(parameters, many, Rule(MARGIN, anybody_but=(0,))).shares
    mine, theirs = (as_words(share).reshape(-1) for share in shares)
    for share in (mine, theirs):
        for shift in range(0, 64, 8):
            assert abs(chi_square(share, shift)) < SIGMAS
    bit = np.uint64(person is not None)
    assert (combine(mine, theirs) == bit).all()
    # What a party would be sent is what it can compute itself once it knows the bit.
    assert (theirs == bit - mine).all()
