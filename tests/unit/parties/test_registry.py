"""parties/party/models/registry.py on a real SQLite file and a real PostgreSQL server."""

import os
import sqlite3
import threading
from contextlib import closing

import pytest
from sqlalchemy import create_engine, inspect
from sqlalchemy.exc import DBAPIError

from parties.party.models import database
from parties.party.models.registry import Registry
from parties.party.models.salts import Salts
from parties.party.models.tables import Model, RefreshedShare, State
from privedge.errors import AlreadyExists, DiskFull, Unreachable
from privedge.sharing.manifest import (
    ModelManifest,
    TensorEntry,
    UploadHeader,
    new_model_id,
    new_salt,
)


def a_header(owner="ana", cohort="digits"):
    entry = TensorEntry("0.weight", (2, 3), (os.urandom(32).hex(), os.urandom(32).hex()))
    manifest = ModelManifest(new_model_id(), cohort, owner, "0" * 64, (entry,))
    return UploadHeader(manifest, new_salt())


@pytest.fixture
def registry(registry_url):
    with closing(Registry(registry_url)) as opened:
        yield opened


def run(url, *statements):
    """Change a database beside its registry; returns the rows of the last statement."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            done = [connection.exec_driver_sql(each) for each in statements][-1]
            return [tuple(row) for row in done] if done.returns_rows else []
    finally:
        engine.dispose()


def tables(url):
    """Names of all tables."""
    engine = create_engine(url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def added(registry, *args):
    header = a_header(*args)
    registry.add(header)
    return header.manifest.model_id


def states(registry):
    return {row.model_id: row.state for row in registry.listed(owner=None, cohort=None)}


def test_an_added_model_is_there_after_opening_again(registry_url):
    header = a_header()
    manifest = header.manifest
    with closing(Registry(registry_url)) as registry:
        registry.add(header)
    with closing(Registry(registry_url)) as again:
        row = again.get(manifest.model_id)
    assert row.state == State.UPLOADED
    assert ModelManifest.from_json(row.manifest_json) == manifest
    assert (row.manifest_digest, row.share_bytes) == (manifest.digest(), 48)
    assert row.salt == header.salt


def test_sqlite_writes_ahead_and_syncs_fully(tmp_path):
    with (
        closing(Registry(f"sqlite:///{tmp_path / 'registry.sqlite'}")) as registry,
        registry._engine.connect() as connection,
    ):
        added(registry)
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as plain:
        assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_id_is_used_once_even_after_deletion(registry):
    header = a_header()
    registry.add(header)
    registry.delete(header.manifest.model_id)
    with pytest.raises(AlreadyExists):
        registry.add(header)
    assert registry.listed(owner=None, cohort=None) == []
    assert registry.live() == {}


def test_activation_retires_the_owners_other_model_of_the_cohort_only(registry):
    first, second = added(registry), added(registry)
    foreign, elsewhere = added(registry, "ben"), added(registry, "ana", "words")
    for model_id in (first, foreign, elsewhere):
        assert registry.activate(model_id) == []
    assert registry.activate(second) == [first]
    assert registry.activate(second) == []
    assert states(registry) == {
        first: State.RETIRED,
        second: State.ACTIVE,
        foreign: State.ACTIVE,
        elsewhere: State.ACTIVE,
    }
    assert set(registry.live()) == {second, foreign, elsewhere}
    assert registry.count_live("ana") == 2


def test_a_salt_goes_with_its_share(registry):
    superseded, active, deleted = added(registry), added(registry), added(registry)
    registry.activate(superseded)
    registry.activate(active)
    registry.delete(deleted)
    salts = [len(registry.get(each).salt) for each in (active, superseded, deleted)]
    assert salts == [32, 32, 0]
    assert registry.retired() == registry.retired("ana") == {superseded}
    registry.forget_salts([superseded])
    assert registry.get(superseded).salt == b""
    assert (registry.retired(), registry.retired("ben")) == (set(), set())


def test_an_error_of_the_database_does_not_show_a_salt(registry, registry_url):
    run(registry_url, "DROP TABLE models")
    header = a_header()
    with pytest.raises(DBAPIError) as failed:
        registry.add(header)
    assert "parameters hidden" in str(failed.value)
    assert repr(header.salt) not in str(failed.value)


def test_active_models_are_ordered_by_owner_as_python_orders_text(registry):
    for owner in ("zoe", "Ben", "ana", "Zoe"):
        registry.activate(added(registry, owner))
    assert [row.owner for row in registry.active("digits")] == ["Ben", "Zoe", "ana", "zoe"]


def test_a_follower_takes_over_the_whole_list(registry):
    old, new, foreign = added(registry), added(registry), added(registry, "ben")
    waiting, elsewhere = added(registry, "cy"), added(registry, "ana", "words")
    for model_id in (old, foreign, elsewhere):
        registry.activate(model_id)
    for model_id in (new, waiting):
        registry.prepare(model_id)
    assert set(registry.follow("digits", {new: State.ACTIVE})) == {old, foreign}
    assert states(registry) == {
        old: State.RETIRED,
        new: State.ACTIVE,
        foreign: State.RETIRED,
        waiting: State.UPLOADED,
        elsewhere: State.ACTIVE,
    }
    assert registry.follow("digits", {new: State.ACTIVE}) == []


def test_preparing_changes_uploaded_models_only(registry):
    model_id = added(registry)
    registry.activate(model_id)
    registry.prepare(model_id)
    assert registry.get(model_id).state == State.ACTIVE


def test_lists_are_by_owner_and_cohort(registry):
    mine, elsewhere, _foreign = (
        added(registry),
        added(registry, "ana", "words"),
        added(registry, "b"),
    )
    assert {row.model_id for row in registry.listed(owner="ana", cohort=None)} == {mine, elsewhere}
    assert [row.model_id for row in registry.listed(owner="ana", cohort="digits")] == [mine]


def test_w26_a_full_disk_is_the_operators_and_what_was_there_stays(tmp_path):
    registry = Registry(f"sqlite:///{tmp_path / 'registry.sqlite'}")
    kept = added(registry)
    with registry._engine.connect() as connection:  # the pool hands this one out again
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    with pytest.raises(DiskFull, match="disk is full"):
        for _ in range(100):
            added(registry)
    assert kept in states(registry)
    registry.close()


def test_w20_quarantined_models_keep_their_place_until_they_are_released(registry):
    harmed, other = added(registry), added(registry, "ben")
    for model_id in (harmed, other):
        registry.activate(model_id)
    assert registry.quarantine("digits", {harmed}, release=False) == {harmed: "quarantined"}
    assert [row.model_id for row in registry.active("digits")] == [other]
    assert [row.model_id for row in registry.quarantined()] == [harmed]
    before = registry.epochs.own
    assert registry.quarantine("digits", set(), release=False) == {}
    assert registry.quarantine("digits", {harmed}, release=True) == {}
    assert registry.epochs.own == before
    assert registry.quarantine("digits", set(), release=True) == {harmed: "active"}
    assert {row.model_id for row in registry.active("digits")} == {harmed, other}


def test_w20_a_new_model_takes_the_place_of_a_quarantined_one(registry):
    harmed, new = added(registry), added(registry)
    registry.activate(harmed)
    registry.quarantine("digits", {harmed}, release=False)
    assert registry.activate(new) == [harmed]
    assert registry.quarantine("digits", set(), release=True) == {}
    assert states(registry) == {harmed: State.RETIRED, new: State.ACTIVE}


def test_w20_a_follower_keeps_what_is_quarantined(registry):
    harmed, other, dropped = added(registry), added(registry, "ben"), added(registry, "cy")
    for model_id in (harmed, other, dropped):
        registry.activate(model_id)
    wanted = {harmed: State.QUARANTINED, other: State.ACTIVE}
    assert registry.follow("digits", wanted) == [dropped]
    assert registry.follow("digits", wanted) == []
    assert states(registry) == {**wanted, dropped: State.RETIRED}
    assert registry.follow("digits", {other: State.ACTIVE}) == [harmed]


def refreshed(model_id):
    """A refreshed share of a model, with a salt of its own."""
    return RefreshedShare(
        model_id=model_id,
        version=os.urandom(16).hex(),
        in_use=False,
        salt=new_salt(),
        commitments_json="[]",
        created_at=1,
    )


def test_c61_a_change_that_reads_first_stands_a_rotation_of_keys_beside_it(tmp_path):
    """The rotation is another process. It may neither end the change nor be ended by it."""
    url = f"sqlite:///{tmp_path / 'registry.sqlite'}"
    with closing(Registry(url)) as registry, closing(Salts(url)) as salts:
        mine, other = added(registry), added(registry, "ben")
        kept, sealed = registry.get(other).salt, os.urandom(96)
        rotation = threading.Thread(target=lambda: salts.replace_salts({(other, kept): sealed}))

        def change(session):
            row = session.get_one(Model, mine)
            rotation.start()
            rotation.join(0.2)  # without the lock it would have committed by now
            row.state = State.PREPARED

        registry.record(change)
        rotation.join(60)
        assert states(registry)[mine] == State.PREPARED
        assert registry.get(other).salt == sealed


def test_a_database_that_another_process_keeps_locked_is_away_until_it_is_free(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(database, "_BUSY_MS", 10)
    file = tmp_path / "registry.sqlite"
    with closing(Registry(f"sqlite:///{file}")) as registry:
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unreachable, match="another process keeps it locked"):
                added(registry)
            assert states(registry) == {}  # what only reads goes on
        assert len({added(registry), added(registry, "ben")}) == 2


def test_w43_a_reader_delays_the_end_of_an_old_salt_until_the_next_change_and_no_writer(tmp_path):
    file = tmp_path / "registry.sqlite"
    log = file.with_name(f"{file.name}-wal")
    with closing(Registry(f"sqlite:///{file}")) as registry:
        model_id = added(registry)
        old = registry.get(model_id).salt
        with closing(sqlite3.connect(file, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            assert reader.execute("SELECT salt FROM models").fetchall() == [(old,)]
            registry.use_refreshed([refreshed(model_id)])
            assert old in log.read_bytes() + file.read_bytes()
        registry.prepare(model_id)
        assert old not in log.read_bytes() + file.read_bytes()


def test_t4_two_models_with_one_salt_keep_one_each(registry):
    """An owner chooses the salts of its models."""
    one, other = added(registry), added(registry, "ben")
    salt = registry.get(one).salt
    registry.record(lambda session: setattr(session.get_one(Model, other), "salt", salt))
    sealed = {(model_id, salt): os.urandom(96) for model_id in (one, other)}
    registry.replace_salts(sealed)
    for model_id in (one, other):
        assert registry.get(model_id).salt == sealed[model_id, salt]
