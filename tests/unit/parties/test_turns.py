"""parties/party/queries/turns.py: whose query is next, and how many of one client share a run."""

from collections import Counter
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from parties.config.sections import BatchingSection
from parties.party.queries import turns
from parties.party.queries.batch_queue import BatchQueue
from parties.party.queries.pending import PendingQuery
from privedge.rpc.deadline import Deadline
from privedge.sharing.question import Question, new_query_id


def a_query(client: str, images: int = 1, **changes) -> PendingQuery:
    question = Question(new_query_id(), "digits", "s1", (images, 4), **changes)
    pinned = SimpleNamespace(id="s1", cohort=SimpleNamespace(rows=lambda limit: limit))
    query = PendingQuery(question, pinned, b"", client, Deadline.after(60))
    query.ready = query.arrived
    return query


def a_queue(max_images: int = 64) -> BatchQueue:
    return BatchQueue(BatchingSection(max_images=max_images), 64)


def added(batch_queue: BatchQueue, *queries: PendingQuery) -> list[PendingQuery]:
    for query in queries:
        batch_queue.add(query)
    return list(queries)


def names(run: list[PendingQuery] | None) -> list[str]:
    return [query.client for query in run or []]


def test_w15_a_client_with_one_query_is_in_the_next_run_whatever_another_has_waiting():
    batch_queue = a_queue()
    added(batch_queue, *(a_query("eve") for _ in range(64)))
    added(batch_queue, a_query("ana"))
    assert sorted(names(batch_queue.take())) == ["ana", "eve"]
    for _ in range(20):  # and runs stay short while she may ask again
        assert names(batch_queue.take()) == ["eve"]
        added(batch_queue, a_query("eve"))
    added(batch_queue, a_query("ana"))
    assert "ana" in names(batch_queue.take())


def test_w15_the_turn_counts_although_every_query_runs_alone():
    batch_queue = a_queue(max_images=1)
    added(batch_queue, *(a_query("eve") for _ in range(9)))
    batch_queue.take()
    added(batch_queue, a_query("ana"))
    assert "ana" in names(batch_queue.take()) + names(batch_queue.take())


AN_HOUR_S = 3600.0


def crowded() -> BatchQueue:
    """Ana was here, and eve has 64 queries waiting after a run that took an hour."""
    batch_queue = a_queue()
    added(batch_queue, a_query("ana"))
    assert names(batch_queue.take()) == ["ana"]
    added(batch_queue, *(a_query("eve") for _ in range(65)))
    run = batch_queue.take() or []
    assert names(run) == ["eve"]
    batch_queue.ran(run, AN_HOUR_S)
    return batch_queue


def test_w15_a_client_that_crowds_rests_as_long_as_its_run_took_and_another_begins_at_once():
    batch_queue = crowded()
    added(batch_queue, a_query("ana"))
    assert names(batch_queue.take()) == ["ana"]


def test_w15_a_client_that_is_behind_another_does_not_rest():
    batch_queue = crowded()
    for _ in range(2):  # after the first she is as far as eve, after the second beyond
        added(batch_queue, a_query("ana"))
        assert names(batch_queue.take()) == ["ana"]
    assert names(batch_queue.take()) == ["eve"]


def test_w15_the_rest_of_a_client_that_crowds_ends():
    now = [0.0]
    order = turns.Turns(lambda: now[0])
    light, heavy = a_query("ana"), [a_query("eve") for _ in range(8)]
    for query in (light, *heavy):
        order.give(query)
    order.begin([light, heavy[0]])
    order.ran([light, heavy[0]], 2.0)
    assert (order.rest_s(heavy[1:]), order.may_begin(heavy[1:])) == (2.0, [])
    now[0] = 2.0
    assert (order.rest_s(heavy[1:]), order.may_begin(heavy[1:])) == (0.0, heavy[1:])
    assert order.first_of(heavy[1:]) == heavy[1:2]


def test_w15_nobody_shares_a_run_with_a_client_that_crowds():
    now = [0.0]
    order = turns.Turns(lambda: now[0])
    first, heavy = a_query("ana"), [a_query("eve") for _ in range(8)]
    for query in (first, *heavy):
        order.give(query)
    order.begin([first, heavy[0]])
    light = [a_query("ana"), a_query("bo")]
    for query in light:
        order.give(query)
    assert order.first_of([*light, *heavy[1:]]) == light
    assert order.first_of([*heavy[1:], *light]) == heavy[1:2]


def test_a_client_who_is_alone_never_rests():
    batch_queue = a_queue(max_images=1)
    for _ in range(3):
        added(batch_queue, *(a_query("eve") for _ in range(9)))
        run = batch_queue.take() or []
        batch_queue.ran(run, AN_HOUR_S)
        assert names(batch_queue.take()) == ["eve"]


def test_w15_what_asks_for_one_owner_takes_its_turn_too():
    batch_queue = a_queue()
    added(batch_queue, *(a_query("eve", verify_owner="bo") for _ in range(9)))
    batch_queue.take()
    added(batch_queue, a_query("ana"))
    assert "ana" in names(batch_queue.take()) + names(batch_queue.take())


def test_clients_who_all_have_many_queries_share_full_runs():
    batch_queue = a_queue()
    for _ in range(40):
        added(batch_queue, a_query("ana"), a_query("bo"))
    assert Counter(names(batch_queue.take())) == {"ana": 32, "bo": 32}


def test_a_client_who_is_alone_gets_full_runs():
    batch_queue = a_queue()
    added(batch_queue, *(a_query("ana") for _ in range(64)))
    assert len(batch_queue.take() or []) == 64


def test_a_client_who_left_long_ago_bounds_no_run():
    now = [0.0]
    order = turns.Turns(lambda: now[0])
    light, heavy = a_query("ana"), [a_query("eve") for _ in range(8)]
    order.give(light)
    order.begin([light])
    for query in heavy:
        order.give(query)
    assert len(order.first_of(heavy)) == 1
    now[0] = 11
    assert len(order.first_of(heavy)) == 8


def test_a_burst_of_the_past_does_not_count_for_a_client_who_goes_on_one_by_one():
    now = [0.0]
    order = turns.Turns(lambda: now[0])
    burst = [a_query("ana") for _ in range(8)]
    for query in burst:
        order.give(query)
    order.begin(burst)
    for _ in range(12):
        now[0] += 1
        query = a_query("ana")
        order.give(query)
        order.begin([query])
    heavy = [a_query("eve") for _ in range(8)]
    for query in heavy:
        order.give(query)
    assert len(order.first_of(heavy)) == 1


def test_clients_of_the_past_are_forgotten():
    now = [0.0]
    order = turns.Turns(lambda: now[0])
    for number in range(5000):
        now[0] += 1
        query = a_query(f"client-{number}")
        order.give(query)
        order.begin([query])
    assert len(order._clients) <= 1025


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 8)), min_size=1, max_size=60),
    st.integers(1, 64),
)
def test_every_query_runs_once_and_those_of_one_client_in_order(asked, max_images):
    batch_queue = a_queue(max_images)
    queries = added(batch_queue, *(a_query(client, images) for client, images in asked))
    taken: list[PendingQuery] = []
    while len(taken) < len(queries):
        taken += batch_queue.take() or []
    assert sorted(query.id for query in taken) == sorted(query.id for query in queries)
    for client in "abcd":
        mine = [query for query in queries if query.client == client]
        assert [query for query in taken if query.client == client] == mine


@given(st.lists(st.sampled_from("abc"), min_size=3, max_size=90))
def test_w15_while_a_client_waits_another_gets_no_more_than_two_turns(asked):
    batch_queue = a_queue(max_images=1)
    added(batch_queue, *(a_query(client) for client in asked))
    left = Counter(asked)
    since: dict[str, Counter[str]] = {client: Counter() for client in left}
    for _ in asked:
        (served,) = names(batch_queue.take())
        left[served] -= 1
        since[served].clear()
        for other in left:
            if other != served and left[other]:
                since[other][served] += 1
                assert since[other][served] <= 2


def test_w15_a_client_who_asked_while_all_was_quiet_is_not_behind_a_new_one():
    batch_queue = a_queue(max_images=1)
    for _ in range(50):
        added(batch_queue, a_query("ana", images=9))
        batch_queue.take()
    added(batch_queue, *(a_query("eve") for _ in range(5)), a_query("ana"))
    assert "ana" in names(batch_queue.take()) + names(batch_queue.take())
