"""No word that leaves a run is one that a group which the claim allows can compute (W-33).

The groups are those of test_coalitions.py. An answer's shares used to be entries of the dealer's
tables, unchanged: a dealer to whom a client showed them found each at a place that told how many
comparisons that owner had failed.
"""

import os
from collections.abc import Iterator

import numpy as np
import pytest

from parties.mpc.predict import Rule, predict
from privedge_lab.reference import run as reference
from tests.chance import SIGMAS, chi_square
from tests.unit.mpc.models import SPECS, batch, cohort
from tests.unit.mpc.pair import Outcome, as_words

(SUBSPACE,) = (spec for spec in SPECS if spec.name == "subspace")
RULE = Rule(margin=0.5)
QUERIES, OWNERS, RUNS = 12, 10, 200


def run_once(owners: int = OWNERS, rule: Rule = RULE) -> Outcome:
    parameters = cohort(SUBSPACE, owners)
    secrets = (
        batch(SUBSPACE, 1, seed=int.from_bytes(os.urandom(4), "little")),
        *parameters.values(),
    )
    masked = reference.fresh_masks()
    supplies = reference.supply(masked, record=True)
    names = list(parameters)

    def program(engine, x, *stacked):
        return predict(engine, SUBSPACE, dict(zip(names, stacked, strict=True)), x, rule)

    return reference.run(program, *secrets, masked=masked, bundles=supplies, record=True)


def dealers_words(outcome: Outcome) -> np.ndarray:
    """All words of all tables of all tuples, of both parties: the dealer expands both seeds."""
    parts = [
        as_words(part.reshape(-1))
        for view in outcome.views
        for _, shares in view.tuples
        for part in (*shares.free, *shares.derived)
    ]
    return np.concatenate(parts)


def partys_words(outcome: Outcome, party: int) -> np.ndarray:
    """All that a party has: its tables, all messages, all openings, and its own share."""
    view = outcome.views[party]
    parts = [outcome.inner[party], outcome.shares[party]]
    parts += [part for _, shares in view.tuples for part in (*shares.free, *shares.derived)]
    for sent, received in zip(view.sent, view.received, strict=True):
        mine, theirs = sent.reshape(-1), received.reshape(-1)
        parts += [mine, theirs, mine + theirs, mine ^ theirs]
    return np.concatenate([as_words(part.reshape(-1)) for part in parts])


def left(outcome: Outcome, group: str) -> np.ndarray:
    """The released words that the group's client shows it: of both parties, or the other one's."""
    shares = {
        "dealer": outcome.shares,
        "party 0": outcome.shares[1:],
        "party 1": outcome.shares[:1],
    }
    return np.concatenate([as_words(share.reshape(-1)) for share in shares[group]])


def recognised(outcome: Outcome, group: str) -> int:
    known = dealers_words(outcome) if group == "dealer" else partys_words(outcome, int(group[-1]))
    return int(np.isin(left(outcome, group), known).sum())


def test_w33_a_dealer_and_a_client_recognise_no_released_word():
    """120 words of each party; each was an entry of the dealer's tables, unchanged."""
    outcomes = [run_once() for _ in range(QUERIES)]
    assert sum(left(outcome, "dealer").size for outcome in outcomes) == 2 * 120
    assert sum(recognised(outcome, "dealer") for outcome in outcomes) == 0


@pytest.mark.parametrize(
    "rule",
    [RULE, Rule(0.5, verify_position=3), Rule(0.5, anybody_but=(0,))],
    ids=["answer", "verify", "enrolment"],
)
def test_w33_no_kind_of_answer_is_recognised(rule):
    for owners in (OWNERS, 20):
        assert recognised(run_once(owners, rule), "dealer") == 0


def test_w33_the_same_look_recognises_every_word_that_was_not_released():
    outcome = run_once()
    inner = np.concatenate([as_words(share.reshape(-1)) for share in outcome.inner])
    assert np.isin(inner, dealers_words(outcome)).all()


@pytest.mark.parametrize("party", [0, 1])
def test_w33_a_party_and_a_client_recognise_no_released_word(party):
    outcomes = [run_once() for _ in range(QUERIES)]
    assert sum(recognised(outcome, f"party {party}") for outcome in outcomes) == 0


@pytest.fixture(scope="module")
def many() -> list[Outcome]:
    return [run_once() for _ in range(RUNS)]


def differences(many: list[Outcome]) -> Iterator[tuple[str, np.ndarray]]:
    """For each group what its client shows it; for the dealer also less entries of its tables."""
    for group in ("dealer", "party 0", "party 1"):
        yield group, np.concatenate([left(outcome, group) for outcome in many])
    for place in range(16):
        found = []
        for outcome in many:
            for share, view in zip(outcome.shares, outcome.views, strict=True):
                table = view.tuples[-1][1].derived[0][place]
                found.append(as_words(share.reshape(-1) - table.reshape(-1)))
        yield f"dealer, less place {place}", np.concatenate(found)


def test_over_200_runs_every_byte_of_what_leaves_is_uniform_to_every_group(many):
    seen = 0
    for group, words in differences(many):
        seen += words.size
        for shift in range(0, 64, 8):
            assert abs(chi_square(words, shift)) < SIGMAS, group
    assert seen > 4 * RUNS * OWNERS


def test_the_same_statistic_finds_the_tables_in_what_was_not_released(many):
    zeros = 0
    for outcome in many:
        for share, view in zip(outcome.inner, outcome.views, strict=True):
            table = view.tuples[-1][1].derived[0]
            zeros += int((share.reshape(1, -1) == table).any(0).sum())
    assert zeros == 2 * RUNS * OWNERS
