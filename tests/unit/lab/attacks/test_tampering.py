"""One operator deviates: what a client with canaries notices, and what it does not."""

import pytest

from privedge_lab.attacks.tampering import Deviation
from privedge_lab.evaluation.tampering import Asking, Made, deviations

EVERY = {(each.who, each.what): each for each in deviations()}
# Whole batches that accept strangers, or change names.
WHOLE = (
    "all rows: answer +1 at t",
    "all rows: answer -1 at t, +1 at u",
    "all rows: verify, no to yes",
    "all rows: d_t - 2",
    "all rows: d_t - 1",
    "all rows: verify, d_t - 1",
    "all rows: last table always names t",
)
# What is done to t alone is done to no public owner: the answers of canaries stay as they are.
UNSEEN = ("all rows: d_t + 2^12", "all rows: all owners' d + 2^12", "all rows: verify, d_t + 2^12")


@pytest.fixture(scope="module")
def asking(tmp_path_factory) -> Asking:
    return Asking(Made(0), tmp_path_factory.mktemp("evidence"))


def of(what: str) -> list[Deviation]:
    return [each for each in EVERY.values() if each.what == what]


def test_nobody_deviates_and_nothing_is_noticed(asking):
    row = asking.tried(Deviation("party 1", "nothing", "distances"), "canaries:7", 100)
    assert (row.wrong_undetected, row.caught) == (0, 0)


# So far below zero t is out of range and nobody is named: no forgery, but canaries see it.
@pytest.mark.parametrize("what", [what for what in WHOLE if what != "all rows: d_t - 2"])
def test_without_canaries_every_forged_answer_is_believed(asking, what):
    for deviation in of(what):
        assert asking.tried(deviation, "none", 10).wrong_undetected >= 0.9


@pytest.mark.parametrize("what", WHOLE)
@pytest.mark.parametrize("integrity", ["canaries:3", "canaries:7"])
def test_whole_batches_that_accept_strangers_are_noticed(asking, what, integrity):
    for deviation in of(what):
        row = asking.tried(deviation, integrity, 40)
        assert row.wrong_undetected == 0 and row.caught == 1


@pytest.mark.parametrize("what", ["one row: answer +1 at t", "one row: last table names t"])
@pytest.mark.parametrize(("integrity", "share"), [("canaries:3", 1 / 4), ("canaries:7", 1 / 8)])
def test_of_forged_rows_the_one_in_so_many_is_believed(asking, what, integrity, share):
    row = asking.tried(of(what)[-1], integrity, 200)
    # Five standard deviations of 200 draws.
    assert abs(row.wrong_undetected - share) < 0.16
    assert row.caught > 0.55


@pytest.mark.parametrize("what", UNSEEN)
def test_denying_owners_is_not_noticed(asking, what):
    for deviation in of(what):
        row = asking.tried(deviation, "canaries:7", 10)
        assert (row.wrong_undetected, row.caught) == (1, 0)


def test_small_changes_are_noticed_in_part_only(asking):
    (deviation,) = [each for each in of("all rows: d_t - 0.5") if each.who == "party 1"]
    row = asking.tried(deviation, "canaries:3", 100)
    assert 0 < row.wrong_undetected < 0.4 and row.caught > 0.2


TRIES = 400
# What is believed of one changed row of a batch, with three points for chance.
BELIEVED = {"canaries:3": 1 / 4 + 0.03, "canaries:7": 1 / 8 + 0.03}
# Small changes of all rows are noticed in part only.
IN_PART = ("all rows: d_t - 0.75", "all rows: d_t - 0.5")


@pytest.mark.slow
@pytest.mark.parametrize("integrity", ["canaries:3", "canaries:7"])
@pytest.mark.parametrize("who", ["party 0", "party 1", "dealer"])
def test_every_deviation_keeps_to_the_stated_rates(asking, who, integrity):
    single = []
    for deviation in (each for each in EVERY.values() if each.who == who):
        what, row = deviation.what, asking.tried(deviation, integrity, TRIES)
        if what in UNSEEN:
            assert row.wrong_undetected == 1, row
        elif what in IN_PART:
            assert row.wrong_undetected < 0.4, row
        elif what.startswith("one row") or what.startswith("a word"):
            single.append(row.wrong_undetected)
            # Of so many kinds one is far off by chance: four standard deviations of 400 draws.
            assert row.wrong_undetected <= BELIEVED[integrity] + 0.09, row
        else:
            assert row.wrong_undetected <= 0.01 and row.caught > 0.98, row
    assert sum(single) / len(single) <= BELIEVED[integrity]
