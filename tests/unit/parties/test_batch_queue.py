"""parties/party/queries/batch_queue.py: which queries run together, and in which order."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.config.sections import BatchingSection
from parties.party.queries.batch_queue import BatchQueue, together
from parties.party.queries.pending import PendingQuery
from privedge.errors import Unreachable
from privedge.rpc.deadline import Deadline
from privedge.sharing.question import Question, new_query_id


def a_query(
    images: int = 1, *, snapshot: str = "s1", cohort: str = "digits", rows: int = 64, **changes
) -> PendingQuery:
    """`rows`: the most that a run of its cohort's models may have."""
    question = Question(new_query_id(), cohort, snapshot, (images, 4), **changes)
    pinned = SimpleNamespace(
        id=snapshot, cohort=SimpleNamespace(rows=lambda limit: min(limit, rows))
    )
    query = PendingQuery(question, pinned, b"", "carla", Deadline.after(60))
    query.ready = query.arrived
    return query


def a_queue(delay_ms: float = 0, max_images: int = 64, max_batch: int = 64) -> BatchQueue:
    return BatchQueue(BatchingSection(delay_ms=delay_ms, max_images=max_images), max_batch)


def filled(batch_queue: BatchQueue, queries: list[PendingQuery]) -> list[PendingQuery]:
    for query in queries:
        batch_queue.add(query)
    return queries


@given(st.lists(st.integers(1, 64), min_size=1, max_size=80), st.integers(1, 64))
def test_a_run_is_the_longest_start_of_the_queue_whose_images_are_a_power_of_two(images, at_most):
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


def test_a_run_of_a_large_model_has_fewer_images():
    batch_queue = a_queue()
    queries = filled(batch_queue, [a_query(rows=2) for _ in range(5)])
    assert batch_queue.take() == queries[:2]
    assert batch_queue.take() == queries[2:4]


def test_queries_are_taken_in_the_order_in_which_they_came():
    batch_queue = a_queue()
    queries = filled(batch_queue, [a_query() for _ in range(7)])
    assert batch_queue.take() == queries[:4]
    assert batch_queue.take() == queries[4:6]
    assert batch_queue.take() == queries[6:]


def test_a_run_is_never_larger_than_the_party_takes_in_one_query():
    batch_queue = a_queue(max_images=64, max_batch=2)
    queries = filled(batch_queue, [a_query() for _ in range(4)])
    assert batch_queue.take() == queries[:2]


def test_with_one_image_a_run_nothing_is_merged():
    batch_queue = a_queue(max_images=1)
    queries = filled(batch_queue, [a_query() for _ in range(3)])
    assert [batch_queue.take() for _ in range(3)] == [[query] for query in queries]


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
    batch_queue = a_queue()
    plain, different = filled(batch_queue, [a_query(), a_query(**other)])
    assert batch_queue.take() == [plain]
    assert batch_queue.take() == [different]


@pytest.mark.parametrize("same", [{"verify_owner": "ana"}, {"one_subject": True}])
def test_verify_and_one_subject_run_alone_even_beside_their_like(same):
    batch_queue = a_queue()
    first, second = filled(batch_queue, [a_query(**same), a_query(**same)])
    assert batch_queue.take() == [first]
    assert batch_queue.take() == [second]


def test_the_queue_that_has_waited_longest_comes_first_whatever_it_asks():
    batch_queue = a_queue()
    order = [
        a_query(verify_owner="ana"),
        a_query(snapshot="s2"),
        a_query(),
        a_query(one_subject=True),
    ]
    filled(batch_queue, order)
    assert [batch_queue.take() for _ in order] == [[query] for query in order]


def test_a_full_queue_and_a_verify_do_not_wait_for_others():
    batch_queue = a_queue(delay_ms=200, max_images=2)
    slow = filled(batch_queue, [a_query(snapshot="s2")])
    full = filled(batch_queue, [a_query(), a_query()])
    alone = filled(batch_queue, [a_query(verify_owner="ana")])
    assert [batch_queue.take() for _ in range(3)] == [full, alone, slow]


def test_queries_put_back_are_the_next_ones_again():
    batch_queue = a_queue()
    queries = filled(batch_queue, [a_query() for _ in range(5)])
    taken = batch_queue.take()
    taken[1].settle(Unreachable("left"))
    batch_queue.put_back(taken)
    assert batch_queue.take() == [queries[0], *queries[2:5]]


def test_a_query_that_is_over_is_not_taken():
    batch_queue = a_queue()
    early, late, stays = a_query(), a_query(), a_query()
    filled(batch_queue, [early, stays])
    early.leave()
    batch_queue.remove(early)
    late.leave()
    batch_queue.add(late)
    assert batch_queue.take() == [stays]


def test_closed_queues_give_nothing():
    batch_queue = a_queue()
    filled(batch_queue, [a_query()])
    batch_queue.close()
    assert batch_queue.take() is None
