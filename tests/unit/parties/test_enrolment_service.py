"""The check at enrolment as the front ends have it, with their workers' answers given."""

from concurrent.futures import Future
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_model_service import ANA, BEN, COHORT, SPEC, Line, settings, shares_of

from parties.party.audit.files import FOLDER
from parties.party.audit.reading import shown
from parties.party.models.cohorts import ModelRef
from parties.party.models.enrolment import Outcome, opened
from parties.party.models.state_folder import open_models
from privedge.errors import (
    AlreadyEnrolled,
    BudgetSpent,
    ConfigError,
    ManifestMismatch,
    NotReady,
    PrivEdgeError,
    Unreachable,
)
from privedge.identity.roles import Identity, Role
from privedge.ran.narrow import word_bits
from privedge.sharing import ring

CLEO, ZOE = Identity(Role.OWNER, "cleo"), Identity(Role.OWNER, "zoe")
KNOWN, NEW = 1, 0
MASK = 0x1234_5678_9ABC_DEF0


class PlacedHere:
    """PlacedCheck of a party 1 in this process, which has answered already."""

    def __init__(self, call):
        self._done = Future()
        try:
            self._done.set_result(call())
        except Exception as error:
            self._done.set_exception(error)

    def add_callback(self, callback):
        return True

    def share(self):
        share = self._done.result()
        return (share,) if share else ()

    def raise_refusal(self):
        if self._done.exception():
            raise self._done.exception()


class CheckingLine(Line):
    def check(self, ref, said, snapshot_id, query_id):
        self._carry(said, lambda: None)
        return PlacedHere(lambda: self._follower.check(ref, snapshot_id, query_id, Stays()))


class Stays:
    def add_callback(self, callback):
        return True


class Parties:
    """Both parties, whose workers would find `bit`; what they were asked is in `asked`."""

    def __init__(self, folder, stack, check="operator", on_match="report", activations=0):
        rule = {
            "margin": 0.8, "enrolment_check": check, "enrolment_on_match": on_match,
        }  # fmt: skip
        budgets = {"activations_per_hour": activations}
        one, zero = (settings(folder, index, budgets=budgets, **rule) for index in (1, 0))
        self.follower = stack.enter_context(open_models(one, None))
        self.line = CheckingLine(self.follower)
        self.leader = stack.enter_context(open_models(zero, self.line))
        self.bit, self.asked, self.fails = NEW, [], False
        self.disagrees: int | None = None
        self.leader.enrolments.ask = self._answering(0)
        self.follower.enrolments.ask = self._answering(1)
        self.folder = folder

    def _answering(self, party):
        def ask(row, mean, snapshot, query_id, caller):
            if self.fails:
                raise Unreachable("a worker died")
            if party == self.disagrees:
                raise ManifestMismatch("the parties disagree on: rounding")
            self.asked.append((party, row.model_id, mean, snapshot.owners, query_id))
            word = MASK if party == 0 else (self.bit - MASK) % (1 << 64)
            return word.to_bytes(8, "little")

        return ask

    def uploaded(self, owner):
        headers, raw = shares_of(owner)
        for models, header, share in zip(self.both, headers, raw, strict=True):
            models.upload(header, owner, [share])
        return headers[0].manifest.model_id, raw

    def activated(self, owner):
        model_id, _ = self.uploaded(owner)
        self.leader.activate(model_id, owner)
        return model_id

    @property
    def both(self):
        return self.leader, self.follower

    def states(self, owner):
        return [[row.state for row in models.listed(owner, COHORT)] for models in self.both]

    def audited(self):
        """The outcomes in both logs, in order."""
        folders = [self.folder / f"party{party}" / FOLDER for party in (0, 1)]
        return [
            [line["outcome"] for line in shown(folder, event="enrolment", who=None, since=None)]
            for folder in folders
        ]


@pytest.fixture
def open_parties(tmp_path):
    """Open them with two owners, who were not compared with anybody."""

    def opened_with(**settings):
        parties = Parties(tmp_path, stack, **settings)
        for owner in (ANA, BEN):
            parties.activated(owner)
        assert parties.asked == []
        return parties

    with ExitStack() as stack:
        yield opened_with


def test_both_parties_ask_with_the_mean_out_of_their_own_share(open_parties):
    parties = open_parties()
    model_id, raw = parties.uploaded(CLEO)
    parties.leader.activate(model_id, CLEO)
    assert [each[0] for each in parties.asked] == [1, 0]
    size = 8 * SPEC.parameters()["0.basis"][0] * SPEC.parameters()["0.basis"][1]
    names = list(SPEC.parameters())
    assert names[:2] == ["0.basis", "0.mean"]
    for party, asked_for, mean, owners, _ in parties.asked:
        assert asked_for == model_id
        assert owners == ("ana", "ben")
        shape = SPEC.parameters()["0.mean"]
        wide = ring.from_bytes(raw[party][size : size + 8 * shape[0]], shape)
        assert mean == ring.to_bytes(wide, word_bits(SPEC))
    assert len({each[4] for each in parties.asked}) == 1
    assert parties.audited() == [["unchecked", "unchecked", "new"]] * 2


def test_without_the_check_nobody_is_asked_and_nothing_is_recorded(open_parties):
    parties = open_parties(check="off")
    parties.line.check = None  # party 1 is not even called
    parties.activated(CLEO)
    assert parties.asked == []
    assert parties.audited() == [[], []]
    assert parties.states(CLEO) == [["active"]] * 2


def test_a_known_person_is_refused_at_both_parties_and_the_activation_is_charged(open_parties):
    parties = open_parties(on_match="refuse", activations=1)
    parties.bit = KNOWN
    model_id, _ = parties.uploaded(CLEO)
    before = [models.snapshot(COHORT).id for models in parties.both]
    with pytest.raises(AlreadyEnrolled):
        parties.leader.activate(model_id, CLEO)
    assert [models.snapshot(COHORT).id for models in parties.both] == before
    assert parties.states(CLEO) == [["retired"]] * 2
    assert parties.audited() == [["unchecked", "unchecked", "known"]] * 2
    # A second try is a second question, for which the budget has to last.
    again, _ = parties.uploaded(CLEO)
    with pytest.raises(BudgetSpent):
        parties.leader.activate(again, CLEO)
    assert len(parties.asked) == 2


@pytest.mark.parametrize("party", [0, 1])
def test_each_party_bounds_the_questions_of_an_owner_for_itself(open_parties, party):
    parties = open_parties(check="owner", activations=2)
    spent = parties.both[party].budgets
    for _ in range(2):
        with spent.activation("cleo"):
            pass
    model_id, _ = parties.uploaded(CLEO)
    with pytest.raises(BudgetSpent):
        parties.leader.activate(model_id, CLEO)
    assert [each for each in parties.asked if each[0] == 1] == []
    assert parties.audited() == [["unchecked", "unchecked"]] * 2


def test_where_only_the_owner_is_told_no_party_has_the_other_ones_share(open_parties):
    parties = open_parties(check="owner")
    parties.bit = KNOWN
    model_id, _ = parties.uploaded(CLEO)
    sent = []
    answer = parties.follower.check
    parties.follower.check = lambda *arguments: (sent.append(answer(*arguments)), sent[-1])[1]
    prepare = parties.follower.prepare
    parties.follower.prepare = lambda *arguments: (
        sent.append(arguments[1].enrolment),
        prepare(*arguments),
    )
    parties.leader.activate(model_id, CLEO)
    assert sent == [b"", b""]
    told = parties.leader.enrolments.told(model_id)
    assert told.checked
    assert opened(told.share, parties.follower.enrolments.share(model_id)) is Outcome.KNOWN
    assert parties.states(CLEO) == [["active"]] * 2
    assert parties.audited()[0][-1] == parties.audited()[1][-1] == "told the owner"
    assert "share" not in repr(told) or told.share.hex() not in repr(told)


def test_a_check_that_fails_changes_nothing_and_costs_nothing(open_parties):
    parties = open_parties(activations=1)
    model_id, _ = parties.uploaded(CLEO)
    parties.fails = True
    with pytest.raises(Unreachable):
        parties.leader.activate(model_id, CLEO)
    assert parties.states(CLEO) == [["uploaded"]] * 2
    parties.fails = False
    parties.leader.activate(model_id, CLEO)
    assert parties.states(CLEO) == [["active"]] * 2


@pytest.mark.parametrize("party", [0, 1])
def test_workers_that_disagree_in_a_check_cost_no_owner_the_upload(open_parties, party):
    parties = open_parties()
    model_id, _ = parties.uploaded(CLEO)
    parties.disagrees = party
    with pytest.raises(NotReady, match="could not be checked"):
        parties.leader.activate(model_id, CLEO)
    assert parties.states(CLEO) == [["uploaded"], ["uploaded"]]
    parties.disagrees = None
    parties.leader.activate(model_id, CLEO)
    assert parties.states(CLEO) == [["active"], ["active"]]


def test_party_1_agrees_to_no_model_that_was_not_checked(open_parties):
    parties = open_parties()
    model_id, _ = parties.uploaded(CLEO)
    row = parties.leader.listed(CLEO, COHORT)[0]
    with pytest.raises(NotReady):
        parties.follower.prepare(ModelRef(model_id, row.manifest_digest))


def test_a_party_1_that_is_behind_catches_up_before_the_check(open_parties):
    parties = open_parties()
    ben = parties.leader.listed(BEN, COHORT)[0].model_id
    parties.line.cut = True
    parties.leader.delete(ben, BEN)
    parties.line.cut = False
    parties.activated(CLEO)  # with one other owner, it is not compared; party 1 would have two
    assert parties.asked == []
    parties.follower.delete(ben, BEN)

    parties.line.add_active = lambda *_: parties.line._carry(None, refused)
    parties.activated(BEN)
    del parties.line.add_active
    parties.leader.behind.clear()  # nobody has told party 0
    assert parties.leader.snapshot(COHORT).id != parties.follower.snapshot(COHORT).id
    parties.activated(ZOE)
    assert parties.leader.snapshot(COHORT).id == parties.follower.snapshot(COHORT).id
    assert [each[3] for each in parties.asked[-2:]] == [("ana", "ben", "cleo")] * 2


def refused():
    raise Unreachable("party 1: cannot be reached")


def test_an_owners_own_models_are_not_counted_among_the_others(open_parties):
    parties = open_parties()
    first = parties.activated(ANA)
    assert parties.asked == []
    assert parties.audited() == [["unchecked"] * 3] * 2
    parties.activated(CLEO)
    parties.asked.clear()
    second = parties.activated(ANA)
    assert len(parties.asked) == 2
    assert parties.leader.enrolments.told(second).replaced == first


@pytest.mark.parametrize("shares", [(b"", bytes(8)), (bytes(8), b""), (bytes(7),) * 2])
def test_shares_that_are_no_words_are_refused(shares):
    with pytest.raises(PrivEdgeError):
        opened(*shares)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_only_a_sum_of_zero_is_a_new_person(mine, theirs):
    shares = (word.to_bytes(8, "little") for word in (mine, theirs))
    assert (opened(*shares) is Outcome.NEW) == ((mine + theirs) % 2**64 == 0)
    negative = (-mine % 2**64).to_bytes(8, "little")
    assert opened(mine.to_bytes(8, "little"), negative) is Outcome.NEW


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({"enrolment_check": "owner", "margin": 1.0}, "set enrolment_margin"),
        ({"enrolment_check": "owner", "enrolment_on_match": "refuse"}, "who refuses must know"),
        ({"enrolment_on_match": "refuse"}, "who refuses must know"),
        ({"enrolment_check": "everybody"}, "enrolment_check"),
        ({"enrolment_check": "owner", "enrolment_margin": 1.0}, "enrolment_margin"),
    ],
)
def test_rules_that_make_no_sense_are_refused(tmp_path, rule, why):
    with pytest.raises(ValueError, match=why):
        settings(tmp_path, 1, **{"margin": 0.8, **rule})


def test_a_cohort_whose_models_have_no_mean_cannot_be_checked(tmp_path):
    rule = {"preset": "paper", "components": None, "margin": 0.8, "enrolment_check": "owner"}
    with pytest.raises(ConfigError, match="needs a subspace preset"), ExitStack() as stack:
        stack.enter_context(open_models(settings(tmp_path, 1, **rule), None))
