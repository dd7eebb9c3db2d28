"""What a group that the claim allows sees of a run tells nothing but its own inputs and answers.

The groups are party 0, party 1 or the dealer, each with any clients and owners beside it
(docs/explanation/threat-model.md). Three ways to look at the view of each:

    (a) the same bytes for other secrets of everybody else, on the tape that explains them: here
    (b) no word that leaves is one that the group can compute from its seeds
    (c) over many runs every byte of what leaves is uniform, also less any word of the group's

(b) and (c) are in test_released_words.py.
"""

import os

import numpy as np
import pytest
import torch

from parties.mpc.dealing import Dealer, SessionId, Tuples
from parties.mpc.engine import Engine
from parties.mpc.predict import Rule, predict
from parties.mpc.release import ReleaseKey
from parties.mpc.schedule import Schedule
from parties.mpc.tuples import TupleKind
from privedge.ran.spec import RanSpec
from privedge.sharing.fixed_point import encode
from privedge.sharing.ring import Words
from privedge.sharing.split import split
from privedge_lab.reference import run as reference
from privedge_lab.reference.recording import NearLink
from tests.unit.mpc.explained import Tapes, masked_weights, recorded, replayed, supplies
from tests.unit.mpc.models import SPECS, batch, cohort
from tests.unit.mpc.pair import Outcome, Program, View, as_tensor

(SUBSPACE,) = (spec for spec in SPECS if spec.name == "subspace")
(CONV,) = (spec for spec in SPECS if spec.name == "every-conv")
RULE = Rule(margin=0.5)
OWNERS = 10


def asking(spec: RanSpec, names: list[str], rule: Rule = RULE) -> Program:
    def program(engine: Engine, x, *stacked):
        return predict(engine, spec, dict(zip(names, stacked, strict=True)), x, rule)

    return program


def near(parameters: dict[str, Words], owner: int, count: int = 1) -> Words:
    """Images close to one owner's mean, which `subspace` answers with that owner."""
    mean = parameters["0.mean"][owner] + encode(np.array([0.01]))
    return np.repeat(mean.reshape(1, *SUBSPACE.input_shape), count, axis=0)


def halves(secret: Words) -> reference.Shares:
    first, second = split(secret)
    return as_tensor(first), as_tensor(second)


def shared(query: Words, parameters: dict[str, Words]) -> list[reference.Shares]:
    return [halves(query), *map(halves, parameters.values())]


def same_half(shares: list[reference.Shares], secrets: list[Words], known: int):
    """Other secrets, of which party `known` has the shares that it had."""
    made = []
    for pair, secret in zip(shares, secrets, strict=True):
        theirs = as_tensor(secret) - pair[known]
        made.append((pair[0], theirs) if known == 0 else (theirs, pair[1]))
    return made


def others_changed(parameters: dict[str, Words], mine: int) -> dict[str, Words]:
    """The models of all owners but the first `mine` are others."""
    other = cohort(SUBSPACE, len(parameters["threshold"]), seed=7)
    return {
        name: np.concatenate([words[:mine], other[name][mine:]])
        for name, words in parameters.items()
    }


def words_of(view: View) -> list[torch.Tensor]:
    """All that a party receives of a run and all that it makes of its seeds, in order."""
    drawn = [part for _, shares in view.tuples for part in (*shares.free, *shares.derived)]
    return [*view.sent, *view.received, *drawn]


def same(first: View, second: View) -> bool:
    pairs = zip(words_of(first), words_of(second), strict=True)
    return first.seed == second.seed and all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("party", [0, 1])
@pytest.mark.parametrize(
    ("spec", "owners"), [(SUBSPACE, 4), (SUBSPACE, 20), (CONV, 2)], ids=["16", "groups", "relu"]
)
def test_a_party_sees_the_same_bytes_whatever_others_ask_and_own(spec, owners, party, monkeypatch):
    """The query and every model are other people's; not a byte tells of another answer."""
    parameters = cohort(spec, owners)
    program = asking(spec, list(parameters))
    shares = shared(batch(spec, 2), parameters)
    tapes = recorded(program, shares, party)
    others = [batch(spec, 2, seed=9), *cohort(spec, owners, seed=7).values()]
    again = replayed(program, same_half(shares, others, party), tapes, monkeypatch)
    assert same(tapes.outcome.views[party], again.views[party])
    # Its own share of the answer is the same as well; only the other party's says that it is not.
    assert torch.equal(tapes.outcome.inner[party], again.inner[party])


@pytest.mark.parametrize("party", [0, 1])
def test_a_party_sees_the_same_bytes_of_a_cohort_in_blocks(party, monkeypatch):
    monkeypatch.setattr("parties.mpc.decision.schedule", lambda owners: Schedule(owners, 1))
    test_a_party_sees_the_same_bytes_whatever_others_ask_and_own(SUBSPACE, 40, party, monkeypatch)


@pytest.mark.parametrize("party", [0, 1])
def test_a_party_with_the_client_and_an_owner_sees_the_same_bytes_if_the_answer_is(
    party, monkeypatch
):
    """The client shows it the other party's share too; owners 2 and 3 are not of the group."""
    parameters = cohort(SUBSPACE, 4)
    program, query = asking(SUBSPACE, list(parameters)), near(parameters, 0, 2)
    shares = shared(query, parameters)
    tapes = recorded(program, shares, party)
    others = [query, *others_changed(parameters, 2).values()]
    again = replayed(program, same_half(shares, others, party), tapes, monkeypatch)
    assert (tapes.outcome.value == again.value).all() and again.value.sum() == 2
    assert same(tapes.outcome.views[party], again.views[party])
    # Both nonces are a party's to know, so these are what it makes of the two released shares.
    for before, after in zip(tapes.outcome.inner, again.inner, strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("party", [0, 1])
def test_the_look_at_views_sees_a_tape_that_explains_nothing(party, monkeypatch):
    parameters = cohort(SUBSPACE, 4)
    program = asking(SUBSPACE, list(parameters))
    shares = shared(batch(SUBSPACE, 1), parameters)
    tapes = recorded(program, shares, party)
    others = [batch(SUBSPACE, 1, seed=9), *parameters.values()]
    changed = same_half(shares, others, party)
    unexplained = run_on(tapes, program, changed)
    assert not same(tapes.outcome.views[party], unexplained.views[party])


def run_on(tapes: Tapes, program: Program, shares: list[reference.Shares]) -> Outcome:
    """The seeds of the recorded run on other secrets, and nothing else changed."""
    drawn = supplies(tapes.run, tapes.seeds, tapes.weight_seeds)
    masked = masked_weights(tapes.weight_seeds)
    return reference.run(program, *shares, masked=masked, bundles=drawn, record=True)


class Requests(NearLink):
    """A party's link to the dealer, and what the dealer is asked over it."""

    asked: list[tuple[int, int, TupleKind]]

    def __init__(self, dealer: Dealer, party: int, asked: list) -> None:
        super().__init__(dealer, party)
        self.asked, self._of = asked, party

    def request(self, tuples: list[tuple[int, TupleKind]], *, last: bool = False) -> None:
        self.asked += [(self._of, at, kind) for at, kind in tuples]
        super().request(tuples, last=last)


def dealt(
    program: Program, shares: list[reference.Shares], seeds: tuple[bytes, ...], session: bytes
) -> tuple[list, Outcome]:
    """A run on these seeds of a dealer: what it was asked in each party's session, and the run."""
    run, asked = SessionId(session), ([], [])
    drawn = tuple(
        Tuples(
            party,
            run,
            seeds[party],
            Requests(Dealer(run, seeds[:2], seeds[2:], max_elements=1 << 24), party, asked[party]),
        )
        for party in (0, 1)
    )
    return asked, reference.run(program, *shares, masked=masked_weights(seeds[2:]), bundles=drawn)


def test_a_dealer_with_the_client_and_an_owner_sees_the_same_bytes_if_the_answer_is(monkeypatch):
    """On the tape of other nonces, which is all that the parties have and the group has not."""
    parameters = cohort(SUBSPACE, OWNERS)
    # With a margin of 1 the number of comparisons that an owner fails is its rank.
    program = asking(SUBSPACE, list(parameters), Rule(margin=1.0))
    query = near(parameters, 0, 2)
    seeds, session = tuple(os.urandom(32) for _ in range(4)), os.urandom(16)
    shares = shared(query, parameters)
    asked, first = dealt(program, shares, seeds, session)
    # Fresh shares of the query, and of other models of all owners but two: others rank third.
    others = shared(query, others_changed(parameters, 2))
    zero = []

    def explaining(self: ReleaseKey, name: str, shape: torch.Size) -> torch.Tensor:
        return zero[0]

    _, second = dealt(program, others, seeds, session)
    assert (first.value == second.value).all() and first.value.sum() == 2
    # The dealer's own tables at other places: without a release the two would be told apart.
    assert not torch.equal(first.inner[0], second.inner[0])
    zero.append(first.shares[0] - second.inner[0])
    monkeypatch.setattr(ReleaseKey, "zero", explaining)
    asked_again, again = dealt(program, others, seeds, session)
    assert asked == asked_again and asked[0]
    for before, after in zip(first.shares, again.shares, strict=True):
        assert torch.equal(before, after)
