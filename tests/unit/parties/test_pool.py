"""The pool gives each bundle to one run, also if threads compete, and drops unpaired bundles."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from parties.mpc.bundles import Bundle
from parties.mpc.dealing import SessionId
from parties.worker.preprocessing.orders import bundle_names
from parties.worker.preprocessing.pool import BundleChoice, Pool, Prepared
from parties.worker.task import Kind

SIZE = 10
ONE, MANY = Kind("snapshot", (1, 4)), Kind("snapshot", (8, 4))
OTHER = Kind("another", (1, 4))
PATIENCE_S = 20


def prepared() -> Prepared:
    name = os.urandom(16)
    return Prepared(name, b"pairing", Bundle(SessionId(name), [], 0.0), SIZE, 0)


def filled(kind: Kind, count: int, limit_bytes: int = 1 << 20) -> tuple[Pool, list[bytes]]:
    pool, each = Pool(limit_bytes), [prepared() for _ in range(count)]
    for one in each:
        pool.put(kind, one)
    return pool, [one.name for one in each]


def test_many_threads_get_every_bundle_exactly_once_while_more_are_put():
    pool, before = filled(ONE, 200)
    more = [prepared() for _ in range(200)]
    start = threading.Barrier(9)

    def take() -> list[bytes]:
        start.wait()
        taken = []
        while len(taken) < 100 and (one := pool.take(ONE)):
            taken.append(one.name)
        return taken

    def put() -> None:
        start.wait()
        for one in more:
            pool.put(ONE, one)

    with ThreadPoolExecutor(9) as threads:
        takers = [threads.submit(take) for _ in range(8)]
        threads.submit(put).result()
    taken = [name for taker in takers for name in taker.result()]
    while one := pool.take(ONE):
        taken.append(one.name)
    assert sorted(taken) == sorted([*before, *(one.name for one in more)])


def test_taking_by_name_and_by_age_never_gives_one_bundle_twice():
    pool, names = filled(ONE, 300)
    start = threading.Barrier(4)

    def by_name() -> list[bytes]:
        start.wait()
        return [one.name for name in names if (one := pool.take_named(ONE, name))]

    def by_age() -> list[bytes]:
        start.wait()
        return [one.name for _ in names if (one := pool.take(ONE))]

    with ThreadPoolExecutor(4) as threads:
        takers = [threads.submit(job) for job in (by_name, by_age, by_name, by_age)]
    assert sorted(name for taker in takers for name in taker.result()) == sorted(names)


def test_the_oldest_goes_first_and_only_of_its_kind():
    pool, names = filled(ONE, 3)
    assert pool.take(MANY) is None
    assert [pool.take(ONE).name for _ in names] == names
    assert pool.take(ONE) is None


def test_a_name_is_of_one_kind():
    pool, (name,) = filled(ONE, 1)
    assert pool.take_named(MANY, name) is None
    assert pool.take_named(ONE, name).name == name
    assert pool.take_named(ONE, name) is None


def test_the_limit_counts_all_kinds():
    pool, _ = filled(ONE, 2, limit_bytes=3 * SIZE)
    assert pool.room(SIZE) == 1
    pool.put(OTHER, prepared())
    assert not pool.room(1)
    pool.take(ONE)
    assert pool.room(SIZE) == 1 and not pool.room(SIZE + 1)
    assert pool.room(SIZE // 2) == 2


def test_forgetting_drops_what_is_not_worth_keeping():
    pool, _ = filled(ONE, 2)
    pool.put(OTHER, prepared())
    pool.forget(lambda kind: kind.snapshot_id == OTHER.snapshot_id)
    assert pool.counts() == {OTHER: 1}
    pool.forget()
    assert pool.counts() == {} and pool.room(1 << 20)


def test_a_bundle_is_alive_from_when_it_is_put_until_its_run_is_over():
    pool, names = filled(ONE, 2)
    assert sorted(pool.alive()) == sorted(names)
    pool.take(ONE)
    assert sorted(pool.alive()) == sorted(names)
    pool.spent(names[0])
    assert pool.alive() == names[1:]
    pool.forget()
    assert pool.alive() == []


def test_orphans_are_dropped_by_name():
    pool, names = filled(ONE, 4)
    pool.put(OTHER, prepared())
    pool.keep_only({names[1], names[3]})
    assert pool.count(OTHER) == 0
    assert [pool.take(ONE).name for _ in range(2)] == [names[1], names[3]]


def test_a_bundle_that_party_0_picks_is_in_use_until_its_run_is_over():
    pool, names = filled(ONE, 2)
    choice = BundleChoice(pool, ONE, usable=True)
    assert choice.pick() == names[0] and choice.taken.name == names[0]
    assert sorted(pool.alive()) == sorted(names) and pool.count(ONE) == 1
    choice.release()
    assert pool.alive() == names[1:]


def test_nothing_is_picked_without_masked_weights():
    pool, names = filled(ONE, 1)
    choice = BundleChoice(pool, ONE, usable=False)
    assert choice.pick() == b"" and choice.taken is None
    choice.release()
    assert pool.alive() == names


def test_party_1_matches_a_bundle_by_name_or_has_none():
    pool, names = filled(ONE, 2)
    assert BundleChoice(pool, ONE, usable=True).match(names[1]) == names[1]
    for name in (names[1], b"", b"another"):
        choice = BundleChoice(pool, ONE, usable=True)
        assert choice.match(name) == b"" and choice.taken is None
    assert pool.alive() == names[:1]


CHANGES = {
    "put": lambda pool: pool.put(ONE, prepared()),
    "forget": lambda pool: pool.forget(),
    "orphans": lambda pool: pool.keep_only(()),
    "wake": lambda pool: pool.wake(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whoever_waits_hears_of_every_change(change):
    pool, _ = filled(ONE, 1)
    seen = pool.version
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(pool.wait_changed, seen, PATIENCE_S)
        change(pool)
        assert waiting.result(PATIENCE_S) == pool.version != seen


@pytest.mark.parametrize("by_name", [False, True])
def test_what_a_run_takes_wakes_nobody_while_it_runs(by_name):
    pool, names = filled(ONE, 1)
    seen = pool.version
    assert pool.take_named(ONE, names[0]) if by_name else pool.take(ONE)
    assert pool.wait_changed(seen, 0) == seen
    pool.wake()
    assert pool.wait_changed(seen, 0) != seen
    assert pool.count(ONE) == 0


def test_nothing_is_reported_when_nothing_changed():
    pool, names = filled(ONE, 1)
    seen = pool.version
    pool.forget(lambda _: True)
    pool.keep_only(names)
    assert pool.take(MANY) is None
    assert pool.wait_changed(seen, 0) == seen


def test_what_is_prepared_does_not_show_its_masks():
    assert "bundle" not in repr(prepared())


def test_bundles_of_one_session_have_names_of_their_own_and_the_first_has_the_session_s():
    session, other = os.urandom(16), os.urandom(16)
    names = bundle_names(session, 4)
    assert names[0] == session
    assert len({*names, *bundle_names(other, 4)}) == 8
    assert {len(name) for name in names} == {16}
    assert bundle_names(session, 2) == names[:2]
