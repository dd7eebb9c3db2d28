"""Canary rows: where they are, what they expect, what a wrong one does, and what is kept of it."""

import json
import stat
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from parties.mpc.predict import Rule, predict
from privedge.client.canaries import AGAIN, PUBLIC, SIZES, STRANGER, Canaries, Doubt, wanted
from privedge.client.cohort import Cohort
from privedge.config import ClientConfig
from privedge.errors import ConfigError, IntegrityError
from privedge.ran.presets import preset
from privedge.ran.rivals import Rivals
from privedge.sharing.question import Question, new_query_id
from privedge.sharing.split import split
from privedge_lab.evaluation.tampering import Made
from privedge_lab.reference.clear import ClearEngine
from privedge_lab.reference.run import as_tensor, as_words

MADE = Made(0)
COHORT = MADE.cohort
# A letter of a known value, so that it can be found again.
OWN = np.full((1, 128), 7, np.uint64)


def canaries(count: int, cohort: Cohort = COHORT, *, verify: bool = False) -> Canaries:
    return Canaries(cohort, MADE.rivals, count, verify=verify)


def answers(words, *, verify: bool = False):
    """What honest parties answer, as two shares."""
    rule = Rule(0.7, rivals=MADE.rivals, public_owners=2, verify_position=0 if verify else None)
    parameters = {name: as_tensor(each) for name, each in MADE.parameters.items()}
    first, second = split(
        as_words(predict(ClearEngine(), MADE.spec, parameters, as_tensor(words), rule))
    )
    return first.copy(), second


def question(words) -> Question:
    return Question(new_query_id(), "made", "0" * 64, words.shape)


# --- How many, and where --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "count", "size"),
    [(1, 1, 2), (1, 3, 4), (1, 7, 8), (2, 3, 8), (5, 3, 8), (6, 3, 16), (61, 3, 64), (57, 7, 64)],
)
def test_all_rows_together_are_one_of_six_numbers(rows, count, size):
    query = np.repeat(OWN, rows, 0)
    mixed = canaries(count).mixed(query)
    assert len(mixed.words) == size and size in SIZES
    assert (mixed.words[list(mixed.own)] == OWN).all()
    assert {*mixed.own, *(row for row, _, _ in mixed.canaries)} == set(range(size))


def test_the_place_of_the_own_row_is_uniform():
    # Chi-square with three degrees of freedom: above 16.3 once in a thousand times.
    places = Counter(canaries(3).mixed(OWN).own[0] for _ in range(2000))
    assert sum((places[row] - 500) ** 2 / 500 for row in range(4)) < 24


def test_own_rows_come_back_in_their_order():
    query = np.arange(5 * 128, dtype=np.uint64).reshape(5, 128)
    mixed = canaries(3).mixed(query)
    assert (mixed.words[list(mixed.own)] == query).all()


@pytest.mark.parametrize(("most", "count", "rows"), [(64, 3, 61), (40, 7, 25), (4, 3, 1)])
def test_a_query_has_room_for_so_many_own_rows(most, count, rows):
    assert canaries(count, replace(COHORT, max_batch=most)).room == rows


@pytest.mark.parametrize(("most", "count"), [(1, 1), (3, 3), (4, 7)])
def test_a_cohort_without_room_for_canaries_says_so(most, count):
    with pytest.raises(ConfigError, match=f"{count} canaries: the cohort takes {most} rows"):
        canaries(count, replace(COHORT, max_batch=most))


def test_nothing_is_drawn_twice():
    one, other = (canaries(7).mixed(OWN) for _ in range(2))
    rows = {mixed.words[row].tobytes() for mixed in (one, other) for row, _, _ in mixed.canaries}
    assert len(rows) == 14


# --- What they expect -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "kinds"), [(3, {PUBLIC: 1, STRANGER: 2}), (7, {PUBLIC: 3, STRANGER: 4})]
)
def test_kinds_are_half_and_half(count, kinds):
    mixed = canaries(count).mixed(OWN)
    assert Counter(kind for _, kind, _ in mixed.canaries) == kinds


def test_verify_asks_about_strangers_alone_and_expects_no():
    mixed = canaries(7, verify=True).mixed(OWN)
    assert {each[1:] for each in mixed.canaries} == {(STRANGER, None)}


@pytest.mark.parametrize("verify", [False, True])
def test_pictures_have_no_strangers(verify):
    spec = preset("subspace32", height=32, width=32, channels=1, components=2)
    rows = np.random.default_rng(0).normal(size=(4, *spec.input_shape)).astype(np.float32) / 9
    rivals = Rivals.of(rows, spec.input_shape)
    found = Canaries(replace(COHORT, spec=spec), rivals, 7, verify=verify)
    mixed = found.mixed(np.zeros((1, *spec.input_shape), np.uint64))
    assert {kind for _, kind, _ in mixed.canaries} == {PUBLIC}


@pytest.mark.parametrize("verify", [False, True])
def test_honest_parties_answer_every_canary_right(verify):
    found, doubts = canaries(7, verify=verify), 0
    for _ in range(500):
        mixed = found.mixed(OWN)
        shares = answers(mixed.words, verify=verify)
        opened, doubt = mixed.sifted(shares, question(mixed.words), None)
        assert opened.shape == (1, 1 if verify else 12)
        doubts += doubt is not None
        if doubt is not None:  # it is like an owner, and so it is the second time
            again = found.again(doubt)
            again.sifted(answers(again.words, verify=verify), question(again.words), None)
    assert doubts < 10


# --- A wrong one ----------------------------------------------------------------------------------


def test_a_wrong_canary_leaves_evidence_of_canaries_alone(tmp_path):
    mixed = canaries(3).mixed(OWN)
    first, second = answers(mixed.words)
    first[:, 0] += 1
    asked = question(mixed.words)
    with pytest.raises(IntegrityError) as caught:
        mixed.sifted((first, second), asked, tmp_path)
    (file,) = tmp_path.iterdir()
    said = str(caught.value)
    assert said.startswith("3 of 3 canaries came back wrong: one of the three operators deviated;")
    assert said.endswith(f"(evidence: {file})") and "\n" not in said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept = json.loads(file.read_text())
    assert kept.keys() == {"query", "cohort", "snapshot", "asked", "rows", "at", "canaries"}
    assert (kept["query"], kept["rows"]) == (asked.query_id, 4)
    # Neither the own row nor its answer, of which a share would be a half.
    assert [each["row"] for each in kept["canaries"]] == [row for row, _, _ in mixed.canaries]
    for each in kept["canaries"]:
        assert each.keys() == {"row", "kind", "column", "shares"}
        assert each["shares"] == [first[each["row"]].tolist(), second[each["row"]].tolist()]


def named(mixed, column: int = 0):
    """The honest answers, but that one stranger is named."""
    first, second = answers(mixed.words)
    row = next(row for row, kind, _ in mixed.canaries if kind == STRANGER)
    first[row, column] += 1
    return row, (first, second)


def test_one_stranger_that_is_named_is_asked_about_again(tmp_path):
    found = canaries(3)
    mixed = found.mixed(OWN)
    row, shares = named(mixed, 4)
    opened, doubt = mixed.sifted(shares, question(mixed.words), tmp_path)
    assert opened.shape == (1, 12) and doubt.column == 4
    assert (doubt.words[0] == mixed.words[row]).all()
    again = found.again(doubt)
    assert len(again.words) == 16 and again.own == ()
    ((at, _, column),) = [each for each in again.canaries if each[1] == AGAIN]
    assert (again.words[at] == mixed.words[row]).all() and column == 4
    # It is no owner: honest parties do not name it a second time.
    with pytest.raises(IntegrityError, match="1 of 16 canaries"):
        again.sifted(answers(again.words), question(again.words), tmp_path)
    first, second = answers(again.words)
    first[at, 4] += 1
    assert again.sifted((first, second), question(again.words), tmp_path)[1] is None


@pytest.mark.parametrize(
    ("max_batch", "count", "rows", "times"),
    [(64, 3, 16, 1), (17, 3, 16, 1), (15, 3, 8, 2), (7, 3, 4, 2), (3, 1, 2, 4)],
)
def test_a_doubt_is_asked_about_until_guessing_its_rows_has_1_chance_in_16(
    max_batch, count, rows, times
):
    found = Canaries(replace(COHORT, max_batch=max_batch), MADE.rivals, count, verify=False)
    doubt = Doubt(OWN, 4, [])
    assert (len(found.again(doubt).words), found.times) == (rows, times)
    assert rows**times >= 16 and rows * times <= 16
    # It is anywhere among them, every time.
    places = {
        next(row for row, kind, _ in found.again(doubt).canaries if kind == AGAIN)
        for _ in range(40 * rows)
    }
    assert places == set(range(rows))


def test_what_is_asked_about_again_leaves_no_second_doubt(tmp_path):
    found = canaries(3)
    mixed = found.mixed(OWN)
    _, shares = named(mixed)
    _, doubt = mixed.sifted(shares, question(mixed.words), tmp_path)
    again = found.again(doubt)
    with pytest.raises(IntegrityError, match="2 of 16 canaries"):
        again.sifted(named(again)[1], question(again.words), tmp_path)


@pytest.mark.parametrize("added", [1, 2, 2**64 - 1])
def test_a_stranger_whose_row_is_no_answer_is_no_doubt(tmp_path, added):
    mixed = canaries(3).mixed(OWN)
    row, (first, second) = named(mixed)
    first[row, 1:2] += np.uint64(added)
    with pytest.raises(IntegrityError, match="1 of 3 canaries"):
        mixed.sifted((first, second), question(mixed.words), tmp_path)


def test_evidence_that_cannot_be_kept_is_said(tmp_path):
    mixed = canaries(3).mixed(OWN)
    first, second = answers(mixed.words)
    (tmp_path / "file").touch()  # where a folder would have to be made
    with pytest.raises(IntegrityError, match=r"no evidence is kept: .*Not a directory"):
        mixed.sifted(
            (first + np.uint64(1), second), question(mixed.words), tmp_path / "file" / "in"
        )


# --- Which questions have them --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("integrity", "verify", "count"),
    [
        (None, False, 0), (None, True, 3), ("none", True, 0), ("canaries:0", True, 0),
        ("canaries:1", False, 1), ("canaries:7", True, 7),
    ],
)  # fmt: skip
def test_verify_has_canaries_unless_the_client_says_otherwise(integrity, verify, count):
    assert wanted(integrity, COHORT, verify, one_subject=False) == count


@pytest.mark.parametrize(
    "changed", [{"rivals": 0}, {"max_batch": 3}, {"spec": preset("conv32")}], ids=str
)
def test_verify_has_none_by_itself_where_none_can_be_made(changed):
    assert wanted(None, replace(COHORT, **changed), True, one_subject=False) == 0
    assert wanted(None, COHORT, True, one_subject=True) == 0


@pytest.mark.parametrize(
    ("changed", "verify", "one_subject", "said"),
    [
        ({"rivals": 0}, True, False, "no public rivals"),
        ({"public_owners": 0}, False, False, "no public owners"),
        ({}, False, True, "images of one subject"),
    ],
)
def test_canaries_that_were_asked_for_and_cannot_be_made_are_refused(
    changed, verify, one_subject, said
):
    with pytest.raises(ConfigError, match=said):
        wanted("canaries:3", replace(COHORT, **changed), verify, one_subject=one_subject)


def test_the_configuration_knows_four_numbers():
    there = {"party0": "a:1", "party1": "b:1", "insecure_loopback": True, "role": "client"}
    assert ClientConfig(**there, name="c", integrity="canaries:7").integrity == "canaries:7"
    with pytest.raises(ValueError, match="canaries:0"):
        ClientConfig(**there, name="c", integrity="canaries:2")
