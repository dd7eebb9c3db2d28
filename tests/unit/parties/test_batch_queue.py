"""parties/party/queries/batch_queue.py: which queries are taken together, in which order."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.config import BatchingSection
from parties.party.queries.batch_queue import BatchQueue, together
from parties.party.queries.pending import PendingQuery
from privedge.errors import Unreachable
from privedge.rpc.deadline import Deadline
from privedge.sharing.question import Question, new_query_id


def asked(
    images: int = 1, *, snapshot: str = "s1", cohort: str = "digits", **changes
) -> PendingQuery:
    question = Question(new_query_id(), cohort, snapshot, (images, 4), **changes)
    query = PendingQuery(question, SimpleNamespace(id=snapshot), b"", Deadline.after(60))
    query.ready = query.arrived
    return query


def lines(delay_ms: float = 0, max_images: int = 64, max_batch: int = 64) -> BatchQueue:
    return BatchQueue(BatchingSection(delay_ms=delay_ms, max_images=max_images), max_batch)


def filled(waiting: BatchQueue, queries: list[PendingQuery]) -> list[PendingQuery]:
    for query in queries:
        waiting.add(query)
    return queries


@given(st.lists(st.integers(1, 64), min_size=1, max_size=80), st.integers(1, 64))
def test_a_run_is_the_longest_start_of_the_line_whose_images_are_a_power_of_two(images, at_most):
    def fits(count: int) -> bool:
        total = sum(images[:count])
        return total <= at_most and total & (total - 1) == 0

    taken = together(images, at_most)
    longest = max((count for count in range(1, len(images) + 1) if fits(count)), default=1)
    assert taken == longest


@pytest.mark.parametrize(
    ("images", "taken"),
    [([1] * 9, 8), ([1] * 7, 4), ([1], 1), ([3, 1, 2], 2), ([3, 2], 1), ([100, 28], 1)],
)
def test_examples_of_runs(images, taken):
    assert together(images, 64) == taken


def test_queries_are_taken_in_the_order_in_which_they_came():
    waiting = lines()
    queries = filled(waiting, [asked() for _ in range(7)])
    assert waiting.take() == queries[:4]
    assert waiting.take() == queries[4:6]
    assert waiting.take() == queries[6:]


def test_a_run_is_never_larger_than_the_party_takes_in_one_query():
    waiting = lines(max_images=64, max_batch=2)
    queries = filled(waiting, [asked() for _ in range(4)])
    assert waiting.take() == queries[:2]


def test_with_one_image_a_run_nothing_is_merged():
    waiting = lines(max_images=1)
    queries = filled(waiting, [asked() for _ in range(3)])
    assert [waiting.take() for _ in range(3)] == [[query] for query in queries]


@pytest.mark.parametrize(
    "other",
    [
        {"snapshot": "s2"},
        {"cohort": "letters"},
        {"verify_owner": "ana"},
        {"one_subject": True},
    ],
)
def test_what_asks_something_else_never_shares_a_run(other):
    waiting = lines()
    plain, different = filled(waiting, [asked(), asked(**other)])
    assert waiting.take() == [plain]
    assert waiting.take() == [different]


@pytest.mark.parametrize("same", [{"verify_owner": "ana"}, {"one_subject": True}])
def test_verify_and_one_subject_run_alone_even_beside_their_like(same):
    waiting = lines()
    first, second = filled(waiting, [asked(**same), asked(**same)])
    assert waiting.take() == [first]
    assert waiting.take() == [second]


def test_the_line_that_has_waited_longest_comes_first_whatever_it_asks():
    waiting = lines()
    order = [asked(verify_owner="ana"), asked(snapshot="s2"), asked(), asked(one_subject=True)]
    filled(waiting, order)
    assert [waiting.take() for _ in order] == [[query] for query in order]


def test_a_full_line_and_a_verify_do_not_wait_for_others():
    waiting = lines(delay_ms=200, max_images=2)
    slow = filled(waiting, [asked(snapshot="s2")])
    full = filled(waiting, [asked(), asked()])
    alone = filled(waiting, [asked(verify_owner="ana")])
    assert [waiting.take() for _ in range(3)] == [full, alone, slow]


def test_queries_put_back_are_the_next_ones_again():
    waiting = lines()
    queries = filled(waiting, [asked() for _ in range(5)])
    taken = waiting.take()
    taken[1].settle(Unreachable("left"))
    waiting.put_back(taken)
    assert waiting.take() == [queries[0], *queries[2:5]]


def test_a_query_that_is_over_is_not_taken():
    waiting = lines()
    early, late, stays = asked(), asked(), asked()
    filled(waiting, [early, stays])
    early.leave()
    waiting.remove(early)
    late.leave()
    waiting.add(late)
    assert waiting.take() == [stays]


def test_closed_lines_give_nothing():
    waiting = lines()
    filled(waiting, [asked()])
    waiting.close()
    assert waiting.take() is None
