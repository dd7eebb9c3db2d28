"""parties/party/models/service.py: both parties in one process, joined by method calls."""

import errno
import json
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from parties.config.party import PartyConfig
from parties.party.audit.files import lines_of
from parties.party.models import following
from parties.party.models.cohorts import ModelRef
from parties.party.models.state_folder import open_models
from parties.party.models.synchroniser import Synchroniser
from parties.party.upkeep.backup import backup, restore
from privedge.errors import (
    AlreadyExists,
    BudgetSpent,
    ConfigError,
    DiskFull,
    ManifestMismatch,
    NotReady,
    SnapshotChanged,
    UnknownCohort,
    UnknownModel,
    Unreachable,
)
from privedge.identity import roles
from privedge.identity.roles import NAME, Identity, Role
from privedge.ran.presets import preset
from privedge.sharing.manifest import (
    ModelManifest,
    TensorEntry,
    UploadHeader,
    commitment,
    new_model_id,
    new_salt,
)

COHORT = "digits"
SPEC = preset("subspace32", height=32, width=32, channels=1, components=2)
ANA, BEN = Identity(Role.OWNER, "ana"), Identity(Role.OWNER, "ben")


class Line:
    """Party 0's way to party 1, with a switch. It breaks before or after party 1 has heard."""

    def __init__(self, follower):
        self._follower = follower
        self.cut = False
        self.loses_answers = False

    def prepare(self, ref, said, shown):
        return self._carry(said, lambda: self._follower.prepare(ref, shown))

    def set_active(self, cohort, refs, quarantined, said, deleted=()):
        mine = self._carry(said, lambda: self._follower.follow(cohort, refs, quarantined, deleted))
        return mine, self._follower.quarantine.unwanted

    def add_active(self, cohort, since, ref, said):
        return self._carry(said, lambda: self._follower.add(cohort, since, ref))

    def prepare_refresh(self, ref, seed, said):
        return self._carry(said, lambda: self._follower.prepare_refresh(ref, seed))

    def _carry(self, said, call):
        if not self.cut:
            self._follower.standing.require(said)
            call()
        if self.cut or self.loses_answers:
            raise Unreachable("party 1: cannot be reached")
        return self._follower.standing.mine


def settings(folder, index, *, disk=None, budgets=None, registry_url=None, **cohort):
    return PartyConfig.model_validate(
        {
            "disk": disk or {},
            "budgets": budgets or {},
            "registry_url": registry_url,
            "index": index,
            "listen": "127.0.0.1:0",
            "state": folder / f"party{index}",
            "insecure_loopback": True,
            "mpc": {"address" if index == 0 else "listen": "127.0.0.1:1"},
            "dealer": {"address": "127.0.0.1:1"},
            "cohorts": [
                {
                    "name": COHORT,
                    "preset": "subspace32",
                    "components": 2,
                    "serve_one_owner": True,
                    **cohort,
                }
            ],
            **({"peer": {"address": "127.0.0.1:1"}} if index == 0 else {}),
        }
    )


class Parties:
    """Both parties' models over one folder."""

    def __init__(self, folder, stack, disk=None, urls=(None, None), budgets=(None, None)):
        config = settings(folder, 1, disk=disk, registry_url=urls[1], budgets=budgets[1])
        self.follower = stack.enter_context(open_models(config, None))
        self.line = Line(self.follower)
        config = settings(folder, 0, disk=disk, registry_url=urls[0], budgets=budgets[0])
        self.leader = stack.enter_context(open_models(config, self.line))

    def meet(self):
        """A hello; returns what each party holds against the other."""
        there = self.follower.standing.hear(self.leader.standing.mine)
        return self.leader.standing.hear(self.follower.standing.mine), there

    def uploaded(self, owner=ANA):
        """The id of a model that both parties have."""
        headers, raw = shares_of(owner)
        for models, header, share in zip((self.leader, self.follower), headers, raw, strict=True):
            models.upload(header, owner, [share])
        return headers[0].manifest.model_id

    def activated(self, owner=ANA):
        """The id of a model that is active at party 0."""
        model_id = self.uploaded(owner)
        self.leader.activate(model_id, owner)
        return model_id

    @property
    def agree(self):
        return self.leader.snapshot(COHORT).id == self.follower.snapshot(COHORT).id


def shares_of(owner, salts=None):
    """Headers and both shares of a new model; `salts`: one for each party, fresh if None."""
    entries, parts, salts = [], ([], []), salts or (new_salt(), new_salt())
    for name, shape in SPEC.parameters().items():
        size = TensorEntry(name, shape, ("", "")).share_bytes
        shares = (os.urandom(size), os.urandom(size))
        committed = [commitment(salt, name) for salt in salts]
        for each, share in zip(committed, shares, strict=True):
            each.update(share)
        commitments = (committed[0].hexdigest(), committed[1].hexdigest())
        entries.append(TensorEntry(name, shape, commitments))
        parts[0].append(shares[0])
        parts[1].append(shares[1])
    manifest = ModelManifest(new_model_id(), COHORT, owner.name, SPEC.digest(), tuple(entries))
    headers = tuple(UploadHeader(manifest, salt) for salt in salts)
    return headers, (b"".join(parts[0]), b"".join(parts[1]))


@pytest.fixture
def parties(tmp_path):
    with ExitStack() as stack:
        yield Parties(tmp_path, stack)


# --- Snapshots ------------------------------------------------------------------------------------


def test_c41_a_pinned_snapshot_keeps_its_shares_until_the_query_ends(parties):
    first = parties.activated()
    pinned_id = parties.leader.snapshot(COHORT).id
    with parties.leader.pin(COHORT, pinned_id) as pinned:
        second = parties.activated()
        assert pinned.model_ids == (first,)
        assert pinned.models[0].path.exists()
        parties.leader.delete(second, ANA)
    assert not pinned.models[0].path.exists()
    assert parties.leader.snapshot(COHORT).models == ()


def test_shares_stay_until_the_last_of_several_queries_and_runs_lets_go(parties):
    first = parties.activated()
    with ExitStack() as last:
        with parties.leader.pin(COHORT, parties.leader.snapshot(COHORT).id) as pinned:
            last.enter_context(parties.leader.hold(pinned))
            second = parties.activated()
            with parties.leader.hold(pinned):
                assert second != first
        assert pinned.models[0].path.exists()
    assert not pinned.models[0].path.exists()


def test_a_query_for_another_snapshot_is_told_that_the_cohort_changed(parties):
    parties.activated()
    before = parties.leader.snapshot(COHORT).id
    parties.activated(BEN)
    with pytest.raises(SnapshotChanged), parties.leader.pin(COHORT, before):
        pass


def test_a_cohort_without_models_is_not_ready_and_one_without_a_name_unknown(parties):
    empty = parties.leader.snapshot(COHORT).id
    with pytest.raises(NotReady), parties.leader.pin(COHORT, empty):
        pass
    with pytest.raises(UnknownCohort):
        parties.leader.snapshot("nowhere")


def test_both_parties_compute_the_same_snapshot_id(parties):
    for owner in (BEN, ANA):
        parties.activated(owner)
    assert parties.agree
    assert parties.leader.snapshot(COHORT).owners == ("ana", "ben")


# --- Two phases -----------------------------------------------------------------------------------


def test_an_activation_stands_when_party_1_cannot_be_told(parties):
    parties.activated()
    second = parties.uploaded()
    parties.line.loses_answers = True
    with pytest.raises(Unreachable):
        parties.leader.activate(second, ANA)
    assert parties.leader.snapshot(COHORT).model_ids != (second,)
    parties.line.loses_answers = False
    parties.line.set_active = parties.line.add_active = refuse
    parties.leader.activate(second, ANA)
    assert parties.leader.snapshot(COHORT).model_ids == (second,)
    assert not parties.agree and parties.leader.behind.is_set()
    del parties.line.set_active, parties.line.add_active
    parties.leader.synchronise()
    assert parties.agree


def refuse(*_):
    raise Unreachable("party 1: cannot be reached")


def test_the_synchroniser_brings_party_1_up_to_date(parties):
    parties.line.set_active = parties.line.add_active = refuse
    model_id = parties.activated()
    del parties.line.set_active, parties.line.add_active
    synchroniser = Synchroniser(parties.leader)
    synchroniser.start()
    while not parties.agree:
        pass
    synchroniser.stop()
    assert parties.follower.snapshot(COHORT).model_ids == (model_id,)


def test_a_party_0_on_an_empty_state_folder_takes_nothing_from_party_1(parties, tmp_path):
    model_id = parties.activated()
    with open_models(settings(tmp_path / "mistyped", 0), parties.line) as stranger:
        stranger.synchronise()
    (kept,) = parties.follower.snapshot(COHORT).models
    assert kept.model_id == model_id and kept.path.exists()


def test_the_last_model_of_a_cohort_goes_at_party_1_too_when_it_is_told_late(parties):
    model_id = parties.activated()
    parties.line.cut = True
    parties.leader.delete(model_id, ANA)
    parties.line.cut = False
    parties.leader.synchronise()
    assert parties.follower.snapshot(COHORT).models == ()


def test_the_synchroniser_stops_while_party_1_is_away(parties):
    parties.line.cut = True
    synchroniser = Synchroniser(parties.leader)
    synchroniser.start()
    synchroniser.stop()


def test_the_synchroniser_goes_on_after_an_error_of_a_disk_or_a_database(parties):
    parties.line.set_active = parties.line.add_active = refuse
    parties.activated()
    del parties.line.set_active, parties.line.add_active
    failures = [OSError(errno.EIO, "input/output error"), sqlite3.OperationalError("disk I/O")]
    set_active = parties.line.set_active

    def fails_twice(*args):
        if failures:
            raise failures.pop()
        return set_active(*args)

    parties.line.set_active = fails_twice
    synchroniser = Synchroniser(parties.leader)
    synchroniser.start()
    while not parties.agree:
        pass
    synchroniser.stop()
    assert not failures


def test_party_1_refuses_a_list_with_a_model_it_lacks_and_changes_nothing(parties):
    held = parties.activated()
    row = parties.follower.listed(ANA, None)[0]
    refs = [ModelRef(held, row.manifest_digest)]
    for wrong in (
        [*refs, ModelRef("0" * 32, "0" * 64)],
        [ModelRef(held, "0" * 64)],
        [*refs, *refs],
    ):
        with pytest.raises(ManifestMismatch):
            parties.follower.follow(COHORT, wrong)
    assert parties.agree


def test_models_that_come_one_by_one_make_the_snapshot_that_a_list_makes(parties):
    owners = [Identity(Role.OWNER, name) for name in ("eve", "ana", "zoe", "ben", "ana", "eve")]
    for owner in owners:
        parties.activated(owner)
        assert parties.agree
    snapshot = parties.leader.snapshot(COHORT)
    assert snapshot.owners == ("ana", "ben", "eve", "zoe")
    # Party 1 takes over a whole list, and reads what it has anew.
    parties.leader.synchronise()
    assert parties.agree and parties.follower.snapshot(COHORT).owners == snapshot.owners


def test_party_1_adds_a_model_to_party_0s_list_only(parties):
    parties.activated()
    before = parties.follower.snapshot(COHORT).id
    model_id = parties.uploaded(BEN)
    row = parties.follower.listed(BEN, None)[0]
    for since, ref in (
        ("0" * 64, ModelRef(model_id, row.manifest_digest)),
        (before, ModelRef(model_id, "0" * 64)),
        (before, ModelRef("0" * 32, row.manifest_digest)),
    ):
        with pytest.raises(ManifestMismatch):
            parties.follower.add(COHORT, since, ref)
    assert parties.follower.snapshot(COHORT).id == before
    parties.follower.add(COHORT, before, ModelRef(model_id, row.manifest_digest))
    assert parties.follower.snapshot(COHORT).owners == ("ana", "ben")


def test_an_activation_brings_along_what_party_1_missed(parties):
    parties.line.set_active = parties.line.add_active = refuse
    parties.activated()
    del parties.line.set_active, parties.line.add_active
    parties.activated(BEN)
    assert parties.agree and parties.follower.snapshot(COHORT).owners == ("ana", "ben")


def test_a_prepared_model_is_party_0s_until_it_says_otherwise(parties):
    model_id = parties.uploaded()
    row = parties.follower.listed(ANA, None)[0]
    parties.follower.prepare(ModelRef(model_id, row.manifest_digest))
    with pytest.raises(NotReady):
        parties.follower.delete(model_id, ANA)
    parties.leader.delete(model_id, ANA)
    parties.follower.delete(model_id, ANA)
    assert parties.follower.listed(ANA, None) == []


def test_a_superseded_model_cannot_come_back(parties):
    first = parties.activated()
    parties.activated()
    with pytest.raises(UnknownModel):
        parties.leader.activate(first, ANA)


def test_a_superseded_id_cannot_be_uploaded_again(parties):
    headers, raw = shares_of(ANA)
    both = (parties.leader, parties.follower)
    for models, header, share in zip(both, headers, raw, strict=True):
        models.upload(header, ANA, [share])
    parties.leader.activate(headers[0].manifest.model_id, ANA)
    parties.activated()
    with pytest.raises(AlreadyExists):
        parties.leader.upload(headers[0], ANA, [raw[0]])


# --- What is set aside ----------------------------------------------------------------------------


def in_trash(folder, party):
    """Ids of the models whose share waits."""
    names = [path.name for path in (folder / f"party{party}/trash").iterdir()]
    return {name.split(".")[1] for name in names}


def test_w19_party_1_takes_a_share_back_when_party_0_lists_the_model_again(parties, tmp_path):
    first = parties.activated()
    row = parties.follower.listed(ANA, None)[0]
    with parties.follower.pin(COHORT, parties.follower.snapshot(COHORT).id) as pinned:
        parties.follower.follow(COHORT, [])
        assert pinned.models[0].path.exists()
    assert in_trash(tmp_path, 1) == {first}
    parties.follower.follow(COHORT, [ModelRef(first, row.manifest_digest)])
    assert parties.agree and pinned.models[0].path.exists() and not in_trash(tmp_path, 1)


def test_w19_what_a_list_leaves_out_waits_for_its_days_with_its_salt(parties, tmp_path):
    model_id = parties.activated()
    parties.follower.follow(COHORT, [])
    waited = time.time() + 14 * 86_400
    parties.follower.empty_trash(waited - 60)
    assert in_trash(tmp_path, 1) == {model_id}
    assert len(parties.follower._registry.get(model_id).salt) == 32
    parties.follower.empty_trash(waited + 60)
    assert in_trash(tmp_path, 1) == set()
    row = parties.follower._registry.get(model_id)
    assert (row.state, row.salt) == ("retired", b"")
    with pytest.raises(ManifestMismatch):
        parties.follower.follow(COHORT, [ModelRef(model_id, row.manifest_digest)])


def test_w18_models_with_two_manifests_are_set_aside_not_removed(parties, tmp_path):
    model_id = parties.uploaded()
    with pytest.raises(ManifestMismatch):
        parties.follower.prepare(ModelRef(model_id, "0" * 64))
    assert in_trash(tmp_path, 1) == {model_id}


def test_w19_a_wrong_digest_does_not_take_an_active_model_down(parties):
    model_id = parties.activated()
    with pytest.raises(ManifestMismatch):
        parties.follower.prepare(ModelRef(model_id, "0" * 64))
    assert parties.agree and parties.follower.snapshot(COHORT).model_ids == (model_id,)


def test_an_owner_who_replaces_models_all_day_does_not_fill_the_disk(parties, tmp_path):
    ids = [parties.activated() for _ in range(11)]
    for party in (0, 1):
        assert in_trash(tmp_path, party) == set(ids[2:-1])
    parties.leader.empty_trash()
    salts = [parties.leader._registry.get(model_id).salt != b"" for model_id in ids]
    assert salts == [False] * 2 + [True] * 9


def test_an_owner_can_delete_a_replaced_model_at_once(parties, tmp_path):
    first = parties.activated()
    parties.activated()
    parties.leader.delete(first, ANA)
    parties.follower.delete(first, ANA)
    assert (in_trash(tmp_path, 0), in_trash(tmp_path, 1)) == (set(), set())
    assert parties.agree


# --- W-22: party 1 is asked first -----------------------------------------------------------------


def test_w22_a_deletion_that_party_1_refuses_changes_nothing(parties):
    model_id = parties.activated()

    def refuses(*_):
        raise DiskFull("party 1: its disk is full")

    parties.line.set_active = refuses
    with pytest.raises(DiskFull):
        parties.leader.delete(model_id, ANA)
    del parties.line.set_active
    assert parties.agree and parties.leader.snapshot(COHORT).model_ids == (model_id,)


def test_w22_a_deletion_that_party_0_cannot_write_comes_back_at_party_1(parties, monkeypatch):
    model_id = parties.activated()

    def refuses(_):
        raise DiskFull("registry: the disk is full")

    monkeypatch.setattr(parties.leader._registry, "delete", refuses)
    with pytest.raises(DiskFull):
        parties.leader.delete(model_id, ANA)
    assert parties.follower.snapshot(COHORT).models == ()
    assert parties.leader.behind.is_set()
    parties.leader.synchronise()
    assert parties.agree and parties.follower.snapshot(COHORT).model_ids == (model_id,)


# --- Starting -------------------------------------------------------------------------------------


def test_one_process_uses_a_state_folder(parties, tmp_path):
    with (
        pytest.raises(ConfigError, match="in use"),
        open_models(settings(tmp_path, 1), None),
    ):
        pass


def test_a_cohort_with_models_keeps_its_architecture(tmp_path):
    with ExitStack() as stack:
        Parties(tmp_path, stack).activated()
    with (
        pytest.raises(ConfigError, match=f"{COHORT}.*new cohort name"),
        open_models(settings(tmp_path, 1, components=3), None),
    ):
        pass


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "party1").write_text("a file")
    with (
        pytest.raises(ConfigError, match="party1"),
        open_models(settings(tmp_path, 1), None),
    ):
        pass


# --- Budgets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("strict", [0, 1])
def test_w45_each_party_counts_activations_for_itself(tmp_path, strict):
    limits = [{"activations_per_hour": 0}, {"activations_per_hour": 0}]
    limits[strict] = {"activations_per_hour": 2}
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack, budgets=limits)
        first, second = parties.activated(), parties.activated()
        parties.leader.activate(second, ANA)  # again is free
        third = parties.uploaded()
        with pytest.raises(BudgetSpent):
            parties.leader.activate(third, ANA)
        rows = {row.model_id: row.state for row in parties.leader.listed(ANA, None)}
        assert rows == {first: "retired", second: "active", third: "uploaded"}
        assert parties.agree
        parties.activated(BEN)
    # And after a restart of both.
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack, budgets=limits)
        with pytest.raises(BudgetSpent):
            parties.leader.activate(third, ANA)


# --- What affects both sides needs both -----------------------------------------------------------

KIM = Identity(Role.ADMIN, "kim")


def joined(folder, stack):
    """Both parties, and party 0 hears at once of what party 1 leaves out."""
    parties = Parties(folder, stack)
    parties.follower.quarantine.watch(parties.leader.quarantine.hear)
    return parties, (parties.leader, parties.follower)


@pytest.mark.parametrize("first", [0, 1])
def test_w04_an_admin_of_one_operator_suspends_and_both_delete(tmp_path, first):
    with ExitStack() as stack:
        parties, both = joined(tmp_path, stack)
        model_id, other = parties.activated(), parties.activated(BEN)
        for _ in range(2):  # the same operator twice is still one
            assert both[first].delete(model_id, KIM)
            parties.leader.synchronise()
            assert parties.agree
            assert parties.leader.snapshot(COHORT).model_ids == (other,)
            states = [models.listed(ANA, COHORT)[0].state for models in both]
            assert states == ["quarantined"] * 2
    # And after a restart of both.
    with ExitStack() as stack:
        parties, both = joined(tmp_path, stack)
        parties.leader.synchronise()
        assert parties.leader.snapshot(COHORT).model_ids == (other,)
        assert "suspended by an admin here" in both[first].quarantine.lines[0]
        assert both[1 - first].delete(model_id, KIM)
        parties.leader.synchronise()
        assert [models.listed(ANA, COHORT) for models in both] == [[], []]
        assert parties.agree
        assert [models.quarantine.unwanted for models in both] == [frozenset()] * 2
        kept = {path.name for path in tmp_path.rglob("*.words*")}
        assert kept == {f"{other}.words"}


@pytest.mark.parametrize("suspended_at", [0, 1])
def test_w04_the_owner_of_a_suspended_model_may_delete_it_or_upload_another(tmp_path, suspended_at):
    with ExitStack() as stack:
        parties, both = joined(tmp_path, stack)
        first, second = parties.activated(), parties.activated(BEN)
        for model_id in (first, second):
            assert both[suspended_at].delete(model_id, KIM)
        parties.leader.synchronise()
        assert parties.leader.snapshot(COHORT).models == ()
        for models in both:
            assert not models.delete(first, ANA)
        again = parties.activated(BEN)
        assert parties.agree and parties.leader.snapshot(COHORT).model_ids == (again,)
        assert [models.listed(ANA, COHORT) for models in both] == [[], []]


def restored(folder, stack):
    """Both parties, after party 1 came back on a backup of before a model while party 0 went on;
    and the id of that model.
    """
    parties, _ = joined(folder, stack)
    parties.meet()
    parties.activated()
    backup(settings(folder, 1), folder / "saved")
    missing = parties.activated(BEN)
    parties.leader.synchronise()
    parties.leader.behind.clear()
    config = settings(folder / "restored", 1)
    restore(config, folder / "saved", above=1000)
    parties.follower = parties.line._follower = stack.enter_context(open_models(config, None))
    assert parties.meet() == ((), ()) and not parties.agree
    return parties, missing


def test_w18_party_1_is_sent_the_lists_whenever_it_connects(tmp_path):
    with ExitStack() as stack:
        parties, _ = restored(tmp_path, stack)
        assert not parties.leader.behind.is_set()
        parties.follower.quarantine.watch(parties.leader.quarantine.hear)
        assert parties.leader.behind.is_set()


def test_w18_what_a_restored_party_1_lacks_is_left_out_until_it_is_uploaded_again(tmp_path):
    with ExitStack() as stack:
        parties, missing = restored(tmp_path, stack)
        leader, back = parties.leader, parties.follower
        back.quarantine.watch(leader.quarantine.hear)
        with pytest.raises(ManifestMismatch, match=f"cohort {COHORT}"):
            leader.synchronise()
        assert COHORT in leader.lists_fault()
        leader.synchronise()
        assert parties.agree and leader.snapshot(COHORT).owners == ("ana",)
        assert leader.lists_fault() == "" and COHORT in leader.holdings.quarantine_fault()
        assert back.lists_fault() == f"cohort {COHORT}: this party lacks 1 of party 0's models"
        for models in (leader, back):
            (line,) = models.quarantine.lines
            assert f"model {missing} of cohort {COHORT}: quarantined" in line

        parties.activated(BEN)
        leader.synchronise()
        assert parties.agree and leader.snapshot(COHORT).owners == ("ana", "ben")
        for models in (leader, back):
            assert models.quarantine.lines == () and models.lists_fault() == ""


@pytest.mark.parametrize("suspended_at", [0, 1])
@pytest.mark.parametrize("told_by", ["add_active", "set_active"])
def test_w04_one_operators_wish_and_a_new_upload_delete_no_share(tmp_path, suspended_at, told_by):
    with ExitStack() as stack:
        parties, both = joined(tmp_path, stack)
        suspended = parties.activated()
        assert both[suspended_at].delete(suspended, KIM)
        parties.leader.synchronise()
        if told_by == "set_active":
            parties.line.add_active = refuse
        parties.activated()
        parties.leader.synchronise()
        assert parties.agree
        for index, models in enumerate(both):
            assert in_trash(tmp_path, index) == {suspended}
            assert models._registry.get(suspended).state == "retired"
    for index in (0, 1):
        assert "deletion" not in recorded(tmp_path, index, suspended)


@pytest.mark.parametrize("breaks", ["registry", "files", "answer", "request"])
def test_w04_an_agreed_deletion_that_was_interrupted_is_made_up_for(tmp_path, monkeypatch, breaks):
    with ExitStack() as stack:
        parties, both = joined(tmp_path, stack)
        model_id, other = parties.activated(), parties.activated(BEN)
        assert all(models.delete(model_id, KIM) for models in both)

        def fails(*_):
            raise Unreachable("the disk")

        def deletes(*given):
            if given[-1]:  # the list that names what is deleted
                parties.line.cut = breaks == "request"
                parties.line.loses_answers = breaks == "answer"
            return told(*given)

        told = parties.line.set_active
        with monkeypatch.context() as broken:
            broken.setattr(parties.line, "set_active", deletes)
            if breaks == "registry":
                broken.setattr(parties.follower._registry, "delete", fails)
            elif breaks == "files":
                broken.setattr(parties.follower._files, "remove", fails)
            with pytest.raises(Unreachable):
                parties.leader.synchronise()
        parties.line.cut = parties.line.loses_answers = False
    with ExitStack() as stack:
        parties, both = joined(tmp_path, stack)
        parties.leader.synchronise()
        assert parties.agree and parties.leader.snapshot(COHORT).model_ids == (other,)
        assert [models.listed(ANA, COHORT) for models in both] == [[], []]
        assert [models.quarantine.unwanted for models in both] == [frozenset()] * 2
        parties.follower.empty_trash()
        assert {path.name for path in tmp_path.rglob("*.words*")} == {f"{other}.words"}


def recorded(folder, party, model_id):
    """The events of a model in a party's audit log."""
    lines = lines_of(folder / f"party{party}" / "audit")
    return [line["event"] for line in map(json.loads, lines) if line.get("model") == model_id]


def test_c52_an_upload_that_was_registered_and_lost_its_share_may_be_repeated(parties):
    (header, _), (raw, _) = shares_of(ANA)
    model_id = header.manifest.model_id
    for _ in range(2):
        assert parties.leader.upload(header, ANA, [raw]) == header.manifest.share_bytes
        path = parties.leader._files.path(model_id)
        assert path.read_bytes() == raw
        path.unlink()


def test_health_counts_the_quarantined_models_of_a_cohort_and_names_none(parties, tmp_path):
    first, second = parties.activated(ANA), parties.activated(BEN)
    for models in (parties.leader, parties.follower):
        assert models.holdings.quarantine_fault() == ""
    share = tmp_path / "party0" / "shares" / f"{first}.words"
    kept = share.read_bytes()
    share.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    parties.leader.quarantine.hear(frozenset())
    parties.leader.quarantine.suspect([first])
    parties.leader.synchronise()
    for models in (parties.leader, parties.follower):
        assert models.holdings.quarantine_fault() == f"cohort {COHORT}: 1 of 2 models"
        assert models.holdings.models()[COHORT, "quarantined"] == 1
    share.write_bytes(kept)
    parties.leader.quarantine.look_again()
    parties.leader.synchronise()
    assert {
        models.holdings.quarantine_fault() for models in (parties.leader, parties.follower)
    } == {""}
    assert second in parties.leader.in_use()


def test_w04_party_1_follows_no_list_with_an_upload_of_an_owner_it_does_not_take(tmp_path):
    with ExitStack() as stack:
        config = settings(tmp_path, 1, owners=["ben"])
        follower = stack.enter_context(open_models(config, None))
        (_, header), (_, share) = shares_of(ANA)
        # As if it had been taken off the list between its upload and its activation.
        follower.cohorts[COHORT] = replace(follower.cohorts[COHORT], owners=None)
        follower.upload(header, ANA, [share])
        follower.cohorts[COHORT] = replace(follower.cohorts[COHORT], owners=frozenset({"ben"}))
        ref = ModelRef(header.manifest.model_id, header.manifest.digest())
        with pytest.raises(ManifestMismatch):
            follower.follow(COHORT, [ref])
        with pytest.raises(ManifestMismatch):
            follower.add(COHORT, follower.snapshot(COHORT).id, ref)
        assert follower.snapshot(COHORT).models == ()


def test_a_charge_that_is_slow_to_be_written_keeps_no_query_from_its_models(parties):
    model_id = parties.uploaded()
    read = []

    @contextmanager
    def slow(_owner):
        with ThreadPoolExecutor(1) as another:
            read.append(another.submit(parties.follower.snapshot, COHORT).result(30))
        yield

    parties.follower.budgets.activation = slow
    parties.follower.prepare(
        ModelRef(model_id, parties.follower._registry.get(model_id).manifest_digest)
    )
    assert len(read) == 1


def test_w48_an_owner_of_an_older_release_called_unknown_stays_out_and_is_told(
    parties, monkeypatch
):
    old = replace(ANA)
    object.__setattr__(old, "name", "Unknown")
    model_id = parties.uploaded(old)
    with pytest.raises(NotReady):
        parties.leader.activate(model_id, old)
    for module in (following, roles):  # as there was no such rule
        monkeypatch.setattr(module, "OWNER_NAME", NAME)
    parties.leader.activate(model_id, old)
    with pytest.raises(NotReady, match=f"model {model_id} is of an owner called Unknown"):
        parties.leader.described(COHORT, ANA)
    monkeypatch.undo()
    parties.leader.delete(model_id, Identity(Role.ADMIN, "operator"))
    assert parties.leader.described(COHORT, ANA).owners == ()
