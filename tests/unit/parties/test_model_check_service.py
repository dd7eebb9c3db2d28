"""The check of new models as the front ends have it, with their workers' answers given."""

from contextlib import ExitStack
from types import MappingProxyType

import numpy as np
import pytest
from test_enrolment_service import MASK, PlacedHere, Stays
from test_model_service import ANA, BEN, COHORT, Line, settings, shares_of

from parties.party.audit.files import FOLDER
from parties.party.audit.reading import shown
from parties.party.models.cohorts import ModelRef
from parties.party.models.model_checks import Shown, commitment_to, new_part
from parties.party.models.state_folder import open_models
from privedge.errors import (
    BudgetSpent,
    ManifestMismatch,
    ModelRefused,
    NotReady,
    ShareError,
    UnknownModel,
)
from privedge.identity.roles import Identity, Role
from privedge.ran import probes
from privedge.ran.model_bounds import Band
from privedge.ran.presets import preset
from privedge.ran.probes import Probes, Rule

ADMIN = Identity(Role.ADMIN, "operator")
SOUND, BAD = 0, 1


class CheckingLine(Line):
    part0 = None

    def draw_probes(self, ref, said, commitment):
        self._carry(said, lambda: None)
        return self._follower.draw_probes(ref, commitment)

    def check_model(self, ref, said, query_id, part0):
        self._carry(said, lambda: None)
        sent = self.part0 or part0
        return PlacedHere(lambda: self._follower.check_model(ref, query_id, sent, Stays()))


class Parties:
    """Both parties, whose workers would find `bit`; on what they were asked is in `asked`."""

    def __init__(self, folder, stack, *, model_check=MappingProxyType({}), **budgets):
        rule = {} if model_check is None else {"model_check": dict(model_check)}
        one, zero = (settings(folder, index, budgets=budgets, **rule) for index in (1, 0))
        self.follower = stack.enter_context(open_models(one, None))
        self.line = CheckingLine(self.follower)
        self.leader = stack.enter_context(open_models(zero, self.line))
        self.bit, self.asked = SOUND, []
        self.leader.checks.ask = self._answering(0)
        self.follower.checks.ask = self._answering(1)

    def _answering(self, party):
        def ask(row, alone, query_id, coin, caller):
            self.asked.append((party, row.model_id, alone, query_id, coin))
            share = (MASK if party else self.bit - MASK) % (1 << 64)
            return share.to_bytes(8, "little")

        return ask

    def uploaded(self, owner=ANA):
        headers, raw = shares_of(owner)
        for models, header, share in zip((self.leader, self.follower), headers, raw, strict=True):
            models.upload(header, owner, [share])
        return headers[0].manifest.model_id

    @property
    def both(self):
        return (self.leader, self.follower)

    def states(self, model_id):
        rows = [models.listed(ADMIN, COHORT) for models in self.both]
        return [row.state for of_party in rows for row in of_party if row.model_id == model_id]

    def refused(self, owner=ANA):
        model_id, self.bit = self.uploaded(owner), BAD
        with pytest.raises(ModelRefused):
            self.leader.activate(model_id, owner)
        self.bit = SOUND
        return model_id


@pytest.fixture
def open_parties(tmp_path):
    with ExitStack() as stack:
        yield lambda **settings: Parties(tmp_path, stack, **settings)


@pytest.fixture
def pool(tmp_path):
    """A file of public probes for the cohort."""
    spec = preset("subspace32", components=2)
    rows = np.random.default_rng(1).normal(size=(40, *spec.input_shape)).astype(np.float32) / 40
    rule = Rule(np.ones(40), np.zeros(40), Band(0.5, 2.0), 0.0, 10)
    probes.write(tmp_path / "probes.npz", Probes.of(rows, rule, spec), spec)
    return tmp_path / "probes.npz"


def refs(parties, model_id):
    (row,) = parties.follower.listed(ADMIN, COHORT)
    return ModelRef(model_id, row.manifest_digest)


def test_a_sound_model_becomes_active_and_both_parties_asked_on_it_alone(open_parties):
    parties = open_parties()
    model_id = parties.uploaded()
    snapshot_id = parties.leader.activate(model_id, ANA)
    assert parties.states(model_id) == ["active"] * 2
    assert parties.follower.snapshot(COHORT).id == snapshot_id
    assert sorted((party, asked) for party, asked, *_ in parties.asked) == [
        (0, model_id),
        (1, model_id),
    ]
    (_, _, here, query, _), (_, _, there, same, _) = parties.asked
    assert (here.id, query) == (there.id, same)
    assert here.model_ids == (model_id,)
    # The same models and rule; but a worker must never take the one for the other.
    assert here.id != snapshot_id


def test_without_probes_nothing_is_drawn(open_parties):
    parties = open_parties()
    parties.leader.activate(parties.uploaded(), ANA)
    assert {coin for *_, coin in parties.asked} == {b""}


def test_both_parties_ask_with_the_same_coin_and_every_model_with_another(open_parties, pool):
    parties = open_parties(model_check={"probes": pool})
    for owner in (ANA, BEN):
        parties.leader.activate(parties.uploaded(owner), owner)
    coins = [coin for *_, coin in parties.asked]
    assert coins[0] == coins[1] != coins[2] == coins[3]
    drawn = [parties.leader.cohorts[COHORT].model_check.probes.picked(coin) for coin in coins]
    assert [len(each) for each in drawn] == [10] * 4
    assert not np.array_equal(drawn[0], drawn[2])


def test_the_coin_is_of_both_and_party_0_cannot_change_its_part(open_parties, pool):
    parties = open_parties(model_check={"probes": pool})
    model_id = parties.uploaded()
    parties.line.part0 = bytes(32)  # as if it had waited for party 1's
    with pytest.raises(ShareError, match="not the part that was committed to"):
        parties.leader.activate(model_id, ANA)
    assert [party for party, *_ in parties.asked] in ([], [0])
    assert parties.states(model_id) == ["uploaded"] * 2
    parties.line.part0 = None
    parties.leader.activate(model_id, ANA)


def test_party_1_draws_only_for_a_model_that_it_holds_and_uses_each_coin_once(open_parties, pool):
    parties = open_parties(model_check={"probes": pool})
    with pytest.raises(UnknownModel):
        parties.follower.draw_probes(ModelRef("0" * 32, "0" * 64), bytes(32))
    ref = refs(parties, parties.uploaded())
    with pytest.raises(ShareError, match="a commitment is 32 bytes"):
        parties.follower.draw_probes(ref, b"")
    with pytest.raises(NotReady, match="its probes were not drawn"):
        parties.follower.check_model(ref, "0" * 32, bytes(32), Stays())
    part0 = new_part()
    parts = {parties.follower.draw_probes(ref, commitment_to(part0)) for _ in range(2)}
    assert len(parts) == 2
    parties.follower.check_model(ref, "0" * 32, part0, Stays())
    with pytest.raises(NotReady, match="its probes were not drawn"):
        parties.follower.check_model(ref, "0" * 32, part0, Stays())


def test_a_refused_model_is_listed_logged_and_kept_at_both_and_asked_by_nobody(
    open_parties, tmp_path
):
    parties = open_parties()
    model_id = parties.refused()
    assert parties.states(model_id) == ["refused"] * 2
    for party, models in enumerate(parties.both):
        assert models.snapshot(COHORT).models == ()
        assert any(model_id in line for line in models.refused_lines)
        folder = tmp_path / f"party{party}" / FOLDER
        (line,) = shown(folder, event="refusal", who=model_id, since=None)
        assert (line["model"], line["owner"]) == (model_id, "ana")
    # Again is no second check.
    checks = len(parties.asked)
    with pytest.raises(ModelRefused):
        parties.leader.activate(model_id, ANA)
    assert len(parties.asked) == checks
    # Its owner may delete it.
    for models in parties.both:
        models.delete(model_id, ANA)
    assert parties.states(model_id) == []


def test_party_1_takes_no_model_that_was_not_checked(open_parties):
    parties = open_parties()
    model_id = parties.uploaded()
    (row,) = parties.follower.listed(ADMIN, COHORT)
    ref = ModelRef(model_id, row.manifest_digest)
    for shown_to_it in (Shown(), Shown(check=bytes(8)), Shown(released=True)):
        with pytest.raises(NotReady):
            parties.follower.prepare(ref, shown_to_it)
    assert parties.states(model_id) == ["uploaded"] * 2


@pytest.mark.parametrize("deviates", [0, 1])
def test_what_is_not_caught_is_a_party_that_changes_its_share_of_the_bit(open_parties, deviates):
    """It need only know that the model is bad: the threat model says so."""
    parties = open_parties()
    parties.bit = BAD
    checks = parties.both[deviates].checks
    honest = checks.ask

    def forged(*args):
        return ((int.from_bytes(honest(*args), "little") - BAD) % (1 << 64)).to_bytes(8, "little")

    checks.ask = forged
    model_id = parties.uploaded()
    parties.leader.activate(model_id, ANA)
    assert parties.states(model_id) == ["active"] * 2


def told_by_party_0(parties, model_id, way):
    """Party 0 says that a model is to be active, without a word about its check."""
    (row,) = (row for row in parties.follower.listed(ADMIN, COHORT) if row.model_id == model_id)
    ref = ModelRef(model_id, row.manifest_digest)
    if way == "add":
        parties.follower.add(COHORT, parties.follower.snapshot(COHORT).id, ref)
    else:
        parties.follower.follow(COHORT, [ref])


@pytest.mark.parametrize("way", ["add", "list"])
def test_party_1_serves_no_model_whose_check_it_did_not_see_pass(open_parties, caplog, way):
    parties = open_parties()
    model_id = parties.uploaded()
    with pytest.raises(ManifestMismatch):
        told_by_party_0(parties, model_id, way)
    assert parties.states(model_id) == ["uploaded"] * 2
    assert parties.follower.snapshot(COHORT).models == ()
    assert (
        f"model {model_id} of cohort {COHORT}: party 0 lists it, and this party saw" in caplog.text
    )


def test_nor_one_that_party_0_lists_as_damaged_first(open_parties):
    parties = open_parties()
    model_id = parties.uploaded()
    (row,) = parties.follower.listed(ADMIN, COHORT)
    parties.follower.follow(COHORT, [], [ModelRef(model_id, row.manifest_digest)])
    with pytest.raises(ManifestMismatch):
        told_by_party_0(parties, model_id, "list")
    assert parties.states(model_id) == ["uploaded"] * 2


def test_nor_one_that_it_has_refused_or_was_checked_before_it_was_refused(open_parties):
    parties = open_parties()
    for model_id in (parties.refused(), parties.refused(BEN)):
        with pytest.raises(ManifestMismatch):
            told_by_party_0(parties, model_id, "list")


def test_what_party_1_saw_outlives_its_restart(tmp_path):
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack)
        model_id = parties.uploaded()
        parties.leader.activate(model_id, ANA)
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack)
        told_by_party_0(parties, model_id, "list")
        assert parties.states(model_id) == ["active"] * 2


def test_a_model_from_before_the_check_stays_active_and_a_later_upload_needs_one(tmp_path):
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack, model_check=None)
        before = parties.uploaded()
        parties.leader.activate(before, ANA)
        waiting = parties.uploaded(BEN)
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack)
        told_by_party_0(parties, before, "list")
        assert parties.states(before) == ["active"] * 2
        with pytest.raises(ManifestMismatch):
            told_by_party_0(parties, waiting, "list")
        parties.leader.activate(waiting, BEN)
        assert parties.states(waiting) == ["active"] * 2


@pytest.mark.parametrize("first", [0, 1])
def test_both_operators_release_a_refused_model_in_either_order(open_parties, first):
    parties = open_parties()
    model_id = parties.refused()
    one, other = parties.both[first], parties.both[1 - first]
    assert one.release(model_id, ADMIN) is False
    parties.leader.activate_released()  # as a thread does every few seconds
    assert parties.states(model_id) == ["refused"] * 2
    with pytest.raises(ModelRefused):  # nor can its owner
        parties.leader.activate(model_id, ANA)
    assert other.release(model_id, ADMIN) is (other is parties.leader)
    parties.leader.activate_released()
    assert parties.states(model_id) == ["active"] * 2
    assert parties.leader.snapshot(COHORT).id == parties.follower.snapshot(COHORT).id
    assert one.release(model_id, ADMIN) is True  # again is fine


def test_only_what_was_refused_can_be_released(open_parties):
    parties = open_parties()
    model_id = parties.uploaded()
    for models in parties.both:
        with pytest.raises(NotReady):
            models.release(model_id, ADMIN)
        with pytest.raises(UnknownModel):
            models.release("0" * 32, ADMIN)
    assert parties.states(model_id) == ["uploaded"] * 2


def test_a_release_by_party_0_alone_does_not_bind_party_1(open_parties):
    parties = open_parties()
    model_id = parties.refused()
    (row,) = parties.follower.listed(ADMIN, COHORT)
    with pytest.raises(ModelRefused):
        parties.follower.prepare(ModelRef(model_id, row.manifest_digest), Shown(released=True))
    assert parties.states(model_id) == ["refused"] * 2


def test_after_three_refusals_a_day_no_model_of_that_owner_is_checked(open_parties):
    parties = open_parties()
    for _ in range(3):
        parties.refused()
    checks = len(parties.asked)
    with pytest.raises(BudgetSpent):
        parties.leader.activate(parties.uploaded(), ANA)
    assert len(parties.asked) == checks
    parties.leader.activate(parties.uploaded(BEN), BEN)  # another owner's


def test_sound_models_cost_no_refusal(open_parties):
    parties = open_parties(refusals_per_day=1)
    for _ in range(3):
        parties.leader.activate(parties.uploaded(), ANA)
    parties.refused()
