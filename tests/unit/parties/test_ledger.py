"""parties/party/budgets/ledger.py on a real registry: what was spent, and what a crash leaves."""

import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from parties.config.budgets import BudgetsSection
from parties.config.cohort import CohortSection
from parties.party.budgets.asked import AskedCounts
from parties.party.budgets.budgets import Budgets
from parties.party.budgets.ledger import HOUR_S, Account, Ledger
from parties.party.models.cohorts import Snapshot, SnapshotModel, build
from parties.party.models.registry import Registry
from privedge.errors import (
    BudgetSpent,
    Busy,
    DeadlineExceeded,
    DiskFull,
    LimitExceeded,
    Unreachable,
)

WITHIN_S = 60
LABELS = Account("labels", "carla", "digits", 1000, 24)
UNLIMITED = Account("labels", "carla", "digits", 0, 24)


class Clock:
    """Seconds since 1970; a test moves it."""

    def __init__(self):
        self.now = 1000.0 * HOUR_S + 1800

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'registry.sqlite'}"


@contextmanager
def opened(url, clock):
    with closing(Registry(url)) as registry, Ledger(registry, clock) as ledger:
        yield ledger


def crashed(url, clock, account, amounts):
    """Spend lastingly, and leave without the end that writes exactly what was spent."""
    with closing(Registry(url)) as registry:
        ledger = Ledger(registry, clock).__enter__()
        for amount in amounts:
            ledger.spend(account, amount).require_lasting(WITHIN_S)


def test_c45_one_more_than_the_budget_is_refused_with_the_time_until_there_is_some(url, clock):
    with opened(url, clock) as ledger:
        ledger.spend(LABELS, 400)
        clock.now += 2 * HOUR_S
        ledger.spend(LABELS, 600)
        with pytest.raises(BudgetSpent, match="the budget of carla in cohort digits") as refused:
            ledger.spend(LABELS, 1)
        assert refused.value.retry_after_s == 23 * HOUR_S - 1800
        with pytest.raises(BudgetSpent) as refused:
            ledger.spend(LABELS, 401)
        assert refused.value.retry_after_s == 25 * HOUR_S - 1800


def test_c45_within_any_day_no_more_than_the_budget_is_spent(url, clock):
    given = []
    with opened(url, clock) as ledger:
        for _ in range(24 * 60):
            clock.now += 10 * 60
            try:
                ledger.spend(LABELS, 37)
                given.append((clock.now, 37))
            except BudgetSpent as refused:
                assert 0 < refused.retry_after_s <= 25 * HOUR_S
    for start, _ in given:
        assert sum(amount for at, amount in given if 0 <= at - start < 24 * HOUR_S) <= 1000
    assert sum(amount for _, amount in given) > 1000


def test_the_hint_is_when_the_same_charge_is_accepted(url, clock):
    with opened(url, clock) as ledger:
        ledger.spend(LABELS, 990)
        with pytest.raises(BudgetSpent) as refused:
            ledger.spend(LABELS, 11)
        clock.now += refused.value.retry_after_s - 1
        with pytest.raises(BudgetSpent):
            ledger.spend(LABELS, 11)
        clock.now += 1
        ledger.spend(LABELS, 11)


def test_c45_a_stop_keeps_exactly_what_was_spent(url, clock):
    with opened(url, clock) as ledger:
        ledger.spend(LABELS, 123)
        ledger.spend(LABELS, 100).give_back()
    with opened(url, clock) as ledger:
        assert ledger.spent(LABELS) == 123


@pytest.mark.parametrize("amounts", [[1], [1] * 40, [64] * 7, [1000]])
def test_c45_a_crash_gives_nothing_back_and_costs_at_most_a_block(url, clock, amounts):
    crashed(url, clock, LABELS, amounts)
    with opened(url, clock) as ledger:
        assert sum(amounts) <= ledger.spent(LABELS) <= sum(amounts) + LABELS.ahead
        if sum(amounts) == LABELS.limit:
            with pytest.raises(BudgetSpent):
                ledger.spend(LABELS, 1)


def test_accounts_of_other_clients_cohorts_and_kinds_are_others(url, clock):
    others = [
        Account("labels", "dora", "digits", 1, 24),
        Account("labels", "carla", "faces", 1, 24),
        Account("activations", "carla", "", 1, 1),
    ]
    with opened(url, clock) as ledger:
        ledger.spend(LABELS, 1000)
        for other in others:
            ledger.spend(other, 1)
            with pytest.raises(BudgetSpent):
                ledger.spend(other, 1)


@pytest.mark.parametrize("hours", [-1000, -30, -1, 1, 26, 1000])
def test_c45_a_clock_that_is_set_while_the_party_runs_changes_nothing(url, monkeypatch, hours):
    other = Account("labels", "dora", "digits", 1000, 24)
    real = time.time
    with closing(Registry(url)) as registry, Ledger(registry) as ledger:
        ledger.spend(LABELS, 1000).require_lasting(WITHIN_S)
        for shift in (hours * HOUR_S, 0):
            monkeypatch.setattr(time, "time", lambda shift=shift: real() + shift)
            ledger.spend(other, 1).require_lasting(WITHIN_S)
            assert ledger.spent(LABELS) == 1000
            with pytest.raises(BudgetSpent) as refused:
                ledger.spend(LABELS, 1)
            assert 23 * HOUR_S < refused.value.retry_after_s <= 25 * HOUR_S


@pytest.mark.parametrize("hours", [1, 26, 51, 1000])
def test_c45_after_a_start_with_a_clock_that_was_ahead_nobody_waits_longer(url, clock, hours):
    clock.now += hours * HOUR_S
    with opened(url, clock) as ledger:
        ledger.spend(LABELS, 400).require_lasting(WITHIN_S)
        clock.now += HOUR_S
        ledger.spend(LABELS, 500).require_lasting(WITHIN_S)
    clock.now -= (hours + 1) * HOUR_S
    for _ in range(3):
        with opened(url, clock) as ledger:
            assert ledger.spent(LABELS) == 900
            with pytest.raises(BudgetSpent) as refused:
                ledger.spend(LABELS, 101)
            assert refused.value.retry_after_s <= 25 * HOUR_S
    clock.now += refused.value.retry_after_s
    with opened(url, clock) as ledger:
        ledger.spend(LABELS, 1000)


def test_a_charge_that_was_forgotten_before_it_was_written_ends_no_other(url, clock):
    other = Account("labels", "dora", "digits", 1000, 24)
    with closing(Registry(url)) as registry:
        database = Broken(registry)
        with Ledger(database, clock) as ledger:
            database.error = DiskFull("full")
            charge = ledger.spend(LABELS, 1)
            with pytest.raises(DiskFull):
                charge.require_lasting(WITHIN_S)
            database.error = None
            clock.now += 100 * HOUR_S
            ledger.spend(other, 1).require_lasting(WITHIN_S)
            with pytest.raises(DeadlineExceeded):
                charge.require_lasting(0.0)
            ledger.spend(other, 500).require_lasting(WITHIN_S)


def test_more_than_the_whole_budget_is_refused_without_a_hint(url, clock):
    with opened(url, clock) as ledger:
        with pytest.raises(LimitExceeded) as refused:
            ledger.spend(LABELS, 1001)
        assert not isinstance(refused.value, BudgetSpent)
        assert ledger.spent(LABELS) == 0


class Broken:
    """A database that fails with `error` after the start."""

    def __init__(self, registry):
        self._registry, self.error = registry, None

    def record(self, change):
        if self.error is not None:
            raise self.error
        return self._registry.record(change)


@pytest.mark.parametrize(
    ("error", "refusal"),
    [(DiskFull("full"), DiskFull), (OperationalError("", {}, Exception("away")), Unreachable)],
)
def test_what_cannot_be_written_is_refused_where_there_is_a_limit_and_only_there(
    url, clock, error, refusal
):
    with closing(Registry(url)) as registry:
        database = Broken(registry)
        with Ledger(database, clock) as ledger:
            database.error = error
            with pytest.raises(refusal):
                ledger.spend(LABELS, 1).require_lasting(WITHIN_S)
            ledger.spend(UNLIMITED, 1).require_lasting(WITHIN_S)
            database.error = None
            ledger.spend(LABELS, 1).require_lasting(WITHIN_S)


def test_old_hours_leave_the_database(url, clock):
    with opened(url, clock) as ledger:
        ledger.spend(LABELS, 5).require_lasting(WITHIN_S)
        clock.now += 100 * HOUR_S
        ledger.spend(LABELS, 7).require_lasting(WITHIN_S)
    clock.now -= 100 * HOUR_S
    with opened(url, clock) as ledger:
        assert ledger.spent(LABELS) == 7


def test_w45_an_activation_that_fails_costs_nothing(url, clock):
    with opened(url, clock) as ledger:
        budgets = Budgets(BudgetsSection(activations_per_hour=2), 64, ledger)
        with pytest.raises(ZeroDivisionError), budgets.activation("ana"):
            raise ZeroDivisionError
        for _ in range(2):
            with budgets.activation("ana"):
                pass
        with pytest.raises(BudgetSpent), budgets.activation("ana"):
            pytest.fail("it must not begin")
        with budgets.activation("ben"):
            pass


def test_w45_images_over_the_rate_are_refused_and_not_charged(url, clock):
    with opened(url, clock) as ledger:
        settings = BudgetsSection(labels_per_day=200, images_per_second=0.001)
        budgets = Budgets(settings, 64, ledger)
        budgets.query("carla", "digits", 64)
        with pytest.raises(Busy) as refused:
            budgets.query("carla", "digits", 1)
        assert 0 < refused.value.retry_after_s <= 1000
        assert ledger.spent(LABELS) == 64


def test_w46_each_model_of_a_snapshot_counts_every_image_once(url):
    def snapshot(*ids):
        models = [SnapshotModel(each, each, "", "", Path(), b"") for each in ids]
        return Snapshot(build(CohortSection(name="digits", preset="subspace32")), tuple(models))

    many = tuple(f"{number:032x}" for number in range(1201))
    with closing(Registry(url)) as registry:
        with closing(AskedCounts(registry)) as asked:
            asked.add(snapshot("a", "b"), 3)
            asked.add(snapshot("b"), 4)
            assert asked.of(["a", "b", "c"]) == {"a": 3, "b": 7, "c": 0}
            asked.add(snapshot("a", "b"), 10)
        with closing(AskedCounts(registry)) as asked:
            asked.add(snapshot(*many), 2)
            asked.add(snapshot(*many), 3)
            assert asked.of(["a", "b"]) == {"a": 13, "b": 17}
            assert set(asked.of(many).values()) == {5}
