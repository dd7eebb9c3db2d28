"""Budgets of labels over 30 days, and what owners are told of them (parties/party/budgets)."""

from contextlib import ExitStack, closing, contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from test_model_service import ANA, BEN, COHORT, Parties, settings

from parties.config.budgets import BudgetsSection
from parties.config.cohort import CohortSection, EncoderSection, LabelBudgetSection
from parties.party.budgets.budgets import Budgets
from parties.party.budgets.ledger import HOUR_S, Ledger, set_unknown
from parties.party.budgets.safe import UNLIMITED, LabelLimits, safe
from parties.party.models.cohorts import build
from parties.party.models.registry import Registry
from parties.party.models.state_folder import open_models
from parties.party.upkeep.backup import backup, restore
from privedge.errors import BudgetSpent, LimitExceeded, UnknownCohort, UnknownModel
from privedge.identity.roles import Identity, Role
from privedge.ran.presets import PRESETS, preset

DAY_S = 24 * HOUR_S
FACES = "faces"


class Clock:
    """Seconds since 1970; a test moves it."""

    def __init__(self):
        self.now = 1000.5 * DAY_S

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'registry.sqlite'}"


@contextmanager
def opened(url, clock, limits, **section):
    with closing(Registry(url)) as registry, Ledger(registry, clock) as ledger:
        yield Budgets(BudgetsSection(**section), 64, ledger, lambda _: limits)


def days(refused):
    return refused.value.retry_after_s / 86400


def test_w45_labels_of_30_days_are_bounded_also_after_a_restart(url, clock):
    limits = LabelLimits(client_month=100)
    with opened(url, clock, limits) as budgets:
        budgets.query("carla", FACES, 60)
        clock.now += 10 * DAY_S
        budgets.query("carla", FACES, 40)
    with opened(url, clock, limits) as budgets:
        with pytest.raises(BudgetSpent, match="the budget of carla in cohort faces") as refused:
            budgets.query("carla", FACES, 1)
        # The first day's labels leave the window when its 31st day begins.
        assert days(refused) == 20.5
        with pytest.raises(BudgetSpent) as refused:
            budgets.query("carla", FACES, 61)
        assert days(refused) == 30.5
        budgets.query("carla", "other", 100)
        clock.now += 20.5 * DAY_S
        budgets.query("carla", FACES, 60)
        with pytest.raises(BudgetSpent):
            budgets.query("carla", FACES, 1)


@settings_of_hypothesis(max_examples=60, deadline=None)
@given(st.data())
def test_who_was_answered_within_its_budgets_can_always_settle_a_doubt(tmp_path_factory, data):
    """Whatever was asked before, of whatever budgets, and however many doubts were settled."""
    url, clock = f"sqlite:///{tmp_path_factory.mktemp('b') / 'registry.sqlite'}", Clock()
    limits = LabelLimits(*(data.draw(st.sampled_from([0, 5, 20, 40, 500])) for _ in range(3)))
    with opened(
        url, clock, limits, labels_per_day=data.draw(st.sampled_from([0, 8, 60]))
    ) as budgets:
        for rows in data.draw(st.lists(st.sampled_from([1, 4, 8, 16, 64]), max_size=25)):
            clock.now += data.draw(st.sampled_from([1, HOUR_S, 30 * HOUR_S]))
            try:
                budgets.query("carla", FACES, rows)
            except LimitExceeded:
                continue
            if data.draw(st.booleans()):
                for again in data.draw(st.sampled_from([[16], [8, 8], [4, 4], [2] * 4])):
                    budgets.query("carla", FACES, again, again=True)


def test_settling_doubts_gives_nobody_more_than_16_rows_beyond_a_budget(url, clock):
    limits = LabelLimits(client_month=500, client_hour=20)
    with opened(url, clock, limits) as budgets:
        given = 0
        for rows, again in [(4, False), (16, True)] * 40:
            with suppress(LimitExceeded):
                budgets.query("carla", FACES, rows, again=again)
                given += rows
        assert given == 36
        clock.now += 2 * HOUR_S  # questions of the usual kind, too
        for _ in range(5):
            budgets.query("carla", FACES, 4)
        with pytest.raises(BudgetSpent):
            budgets.query("carla", FACES, 4)


def test_w45_within_any_30_days_no_more_than_the_budget_is_answered(url, clock):
    given = []
    with opened(url, clock, LabelLimits(client_month=500), labels_per_day=0) as budgets:
        for _ in range(100 * 3):
            clock.now += 8 * HOUR_S
            try:
                budgets.query("carla", FACES, 16)
                given.append(clock.now)
            except BudgetSpent as refused:
                assert 0 < refused.retry_after_s <= 31 * DAY_S
    for start in given:
        assert 16 * sum(0 <= at - start < 30 * DAY_S for at in given) <= 500
    assert 16 * len(given) > 1000


def test_w45_a_crash_gives_no_label_of_the_month_back(url, clock):
    limits = LabelLimits(client_month=100)
    with closing(Registry(url)) as registry:
        ledger = Ledger(registry, clock).__enter__()
        budgets = Budgets(BudgetsSection(), 64, ledger, lambda _: limits)
        for _ in range(10):
            budgets.query("carla", FACES, 10).require_lasting(60)
    with opened(url, clock, limits) as budgets, pytest.raises(BudgetSpent):
        budgets.query("carla", FACES, 1)


def test_w45_clients_that_work_together_share_the_cohorts_budget(url, clock):
    with opened(url, clock, LabelLimits(client_month=10, all_month=25)) as budgets:
        for name in ("carla", "dora"):
            budgets.query(name, FACES, 10)
        with pytest.raises(BudgetSpent):
            budgets.query("eve", FACES, 6)
        budgets.query("eve", FACES, 5)
        with pytest.raises(BudgetSpent):
            budgets.query("fay", FACES, 1)
        budgets.query("fay", "other", 10)


def test_an_hour_has_its_own_budget_and_the_longest_wait_is_told(url, clock):
    limits = LabelLimits(client_month=50, client_hour=20)
    with opened(url, clock, limits) as budgets:
        with pytest.raises(LimitExceeded, match="more than the whole budget"):
            budgets.query("carla", FACES, 21)
        budgets.query("carla", FACES, 20)
        with pytest.raises(BudgetSpent) as refused:
            budgets.query("carla", FACES, 1)
        assert 1 * HOUR_S <= refused.value.retry_after_s <= 2 * HOUR_S
        clock.now += 2 * HOUR_S
        budgets.query("carla", FACES, 20)
        with pytest.raises(BudgetSpent) as refused:  # both are spent
            budgets.query("carla", FACES, 11)
        assert days(refused) > 30


@pytest.mark.parametrize(
    "limits",
    [LabelLimits(client_month=5), LabelLimits(all_month=5), LabelLimits(9, 5, 9)],
    ids=["month", "all", "hour"],
)
def test_a_refused_query_costs_nothing_on_any_account(url, clock, limits):
    with opened(url, clock, limits) as budgets:
        for _ in range(3):
            with pytest.raises(LimitExceeded):
                budgets.query("carla", FACES, 6)
        assert budgets.exposure(FACES, "ana").days == ()
        charges = budgets.query("carla", FACES, 5)
        charges.give_back()
        budgets.query("carla", FACES, 5)


def test_owners_are_told_counts_and_no_names(url, clock):
    with opened(url, clock, UNLIMITED) as budgets:
        budgets.query("carla", FACES, 3)
        clock.now += DAY_S
        budgets.query("carla", FACES, 3)
        budgets.query("dora", FACES, 4, "ana")
        budgets.query("dora", "other", 9, "ana")
        budgets.count_model(FACES)
        budgets.count_model(FACES, refused=True)
        budgets.count_model("other", refused=True)
        told = budgets.exposure(FACES, "ana")
        assert told.days == ((1000, 3), (1001, 7))
        assert (told.identities, told.largest) == (2, 6)
        assert (told.named, told.activated, told.refused) == (4, 1, 1)
        assert budgets.exposure(FACES, "ben").named == 0
        assert not any(name in repr(told) for name in ("carla", "dora"))
    clock.now += 40 * DAY_S
    with opened(url, clock, UNLIMITED) as budgets:
        assert budgets.exposure(FACES, "ana").days == ()


# --- Safe numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("components", "labels"), [(4, 2560), (16, 8704), (64, 33280)])
def test_w45_the_safe_number_is_one_label_a_parameter(components, labels):
    spec = preset("subspace32", components=components)
    assert safe(spec) == LabelLimits(labels, 0, 20 * labels)


def test_w45_embeddings_have_a_smaller_one_and_one_by_the_hour():
    assert safe(preset("vector", size=128)) == LabelLimits(500, 20, 10_000)
    assert safe(preset("vector", size=30, components=3)) == LabelLimits(120, 20, 2400)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_a_safe_number(name):
    assert safe(preset(name)).client_month > 0


@pytest.mark.parametrize(
    ("budget", "limits"),
    [
        (None, UNLIMITED),
        (LabelBudgetSection(), LabelLimits(500, 20, 10_000)),
        (LabelBudgetSection(client_month=7, all_month=0), LabelLimits(7, 20, 0)),
    ],
)
def test_an_operator_sets_each_of_them(budget, limits):
    section = CohortSection(name=FACES, preset="vector", size=128, budget=budget)
    assert build(section).labels == limits


def test_w45_a_cohort_of_embeddings_without_a_budget_is_warned_of():
    encoder = EncoderSection(sha256="ab" * 32, output=(128,), height=112, width=112)
    cohort = {"name": FACES, "preset": "subspace-encoder", "channels": 3, "encoder": encoder}
    open_one = build(CohortSection(**cohort)).cautions()
    assert any("[cohorts.budget]" in line for line in open_one)
    bounded = build(CohortSection(**cohort, budget=LabelBudgetSection())).cautions()
    pictures = build(CohortSection(name=FACES, preset="subspace32")).cautions()
    assert not any("[cohorts.budget]" in line for line in (*bounded, *pictures))


# --- Two parties ----------------------------------------------------------------------------------


def test_w45_a_restored_party_still_counts_what_its_backup_knew(tmp_path):
    cohort = {"budget": {"client_month": 10}}
    with ExitStack() as stack:
        Parties(tmp_path, stack)
    config = settings(tmp_path, 0, **cohort)
    with open_models(config, None) as models:
        models.budgets.query("carla", COHORT, 10).require_lasting(60)
        assert backup(config, tmp_path / "backup") == []
    config.state.rename(tmp_path / "lost")
    restore(config, tmp_path / "backup", forget_spending=True)
    with open_models(config, None) as models:
        with pytest.raises(BudgetSpent):
            models.budgets.query("carla", COHORT, 1)
        models.budgets.query("dora", COHORT, 10)


def test_after_a_restore_of_both_parties_nobody_gets_a_budget_twice(tmp_path):
    """What was spent after the backups is in neither registry, so it counts as all there is."""
    cohort = {"budget": {"client_month": 10}}
    with ExitStack() as stack:
        Parties(tmp_path, stack)
    for index in (0, 1):
        config, saved = settings(tmp_path, index, **cohort), tmp_path / f"backup{index}"
        assert backup(config, saved) == []
        with open_models(config, None) as models:
            models.budgets.query("carla", COHORT, 10).require_lasting(60)
        config.state.rename(tmp_path / f"lost{index}")
        restore(config, saved)
        for _ in range(2):  # a restart changes nothing
            with open_models(config, None) as models:
                for client in ("carla", "dora"):
                    refused = pytest.raises(BudgetSpent, match="an older registry was put back")
                    with refused as error:
                        models.budgets.query(client, COHORT, 1)
                    assert 29 < days(error) <= 32
                # Owners upload again what the backup lacks.
                with models.budgets.activation("ana"):
                    pass


def test_what_is_not_known_leaves_each_window_in_its_time(url, clock):
    limits = LabelLimits(client_month=100, client_hour=20)
    with closing(Registry(url)) as registry:
        registry.record(lambda session: set_unknown(session, int(clock.now // HOUR_S)))
    for limit, wait_s in ((LabelLimits(client_hour=20), 2 * HOUR_S), (limits, 31 * DAY_S)):
        later = Clock()
        with opened(url, later, limit, labels_per_day=0) as budgets:
            with pytest.raises(BudgetSpent) as refused:
                budgets.query("carla", FACES, 1)
            assert wait_s - DAY_S < refused.value.retry_after_s <= wait_s
            later.now += refused.value.retry_after_s
            budgets.query("carla", FACES, 1)
    # Without a limit there is nothing to know.
    with opened(url, clock, UNLIMITED, labels_per_day=0) as budgets:
        budgets.query("carla", FACES, 1000)


def test_an_operator_may_forget_it_and_says_so(url, clock):
    with closing(Registry(url)) as registry:
        for hour in (int(clock.now // HOUR_S), None):
            registry.record(lambda session, hour=hour: set_unknown(session, hour))
    with opened(url, clock, LabelLimits(client_month=100)) as budgets:
        budgets.query("carla", FACES, 100)


def test_both_parties_count_the_same_models_for_owners_that_have_one(tmp_path):
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack)
        parties.activated()
        parties.activated(BEN)
        parties.activated(BEN)
        both = [models.exposure(COHORT, ANA) for models in (parties.leader, parties.follower)]
        assert both[0] == both[1]
        assert both[0].activated == 3
        for models in (parties.leader, parties.follower):
            with pytest.raises(UnknownModel):
                models.exposure(COHORT, Identity(Role.OWNER, "zoe"))
            with pytest.raises(UnknownCohort):
                models.exposure("elsewhere", ANA)
