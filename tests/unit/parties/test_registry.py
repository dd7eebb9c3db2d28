"""parties/party/models/registry.py on a real SQLite file."""

import os
import sqlite3
from contextlib import closing

import pytest
from sqlalchemy.exc import OperationalError

from parties.party.models.look import look
from parties.party.models.migrations import SCHEMA_VERSION
from parties.party.models.registry import Registry
from parties.party.models.tables import State
from privedge.errors import AlreadyExists, ConfigError, DiskFull
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
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'registry.sqlite'}"


@pytest.fixture
def registry(url):
    with closing(Registry(url)) as opened:
        yield opened


def added(registry, *args):
    header = a_header(*args)
    registry.add(header)
    return header.manifest.model_id


def states(registry):
    return {row.model_id: row.state for row in registry.listed(owner=None, cohort=None)}


def test_an_added_model_is_there_after_opening_again(registry, url):
    header = a_header()
    manifest = header.manifest
    registry.add(header)
    with closing(Registry(url)) as again:
        row = again.get(manifest.model_id)
    assert row.state == State.UPLOADED
    assert ModelManifest.from_json(row.manifest_json) == manifest
    assert (row.manifest_digest, row.share_bytes) == (manifest.digest(), 48)
    assert row.salt == header.salt


def test_sqlite_writes_ahead_and_syncs_fully(registry, tmp_path):
    added(registry)
    with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as plain:
        assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with registry._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


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


def test_an_error_of_the_database_does_not_show_a_salt(registry, tmp_path):
    with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as plain:
        plain.execute("DROP TABLE models")
    header = a_header()
    with pytest.raises(OperationalError) as failed:
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


def test_w26_a_full_disk_is_the_operators_and_what_was_there_stays(registry):
    kept = added(registry)
    with registry._engine.connect() as connection:  # the pool hands this one out again
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    with pytest.raises(DiskFull, match="disk is full"):
        for _ in range(100):
            added(registry)
    assert kept in states(registry)


# As the first releases made it: without a table that says its version.
FIRST_SCHEMA = """
CREATE TABLE models (
    model_id VARCHAR(32) NOT NULL, cohort VARCHAR(64) NOT NULL, owner VARCHAR(255) NOT NULL,
    state VARCHAR(16) NOT NULL, manifest_json TEXT NOT NULL, manifest_digest VARCHAR(64) NOT NULL,
    salt BLOB NOT NULL, created_at BIGINT NOT NULL, PRIMARY KEY (model_id)
);
CREATE UNIQUE INDEX one_active_model ON models (cohort, owner) WHERE state = 'active';
"""


def test_w65_a_registry_from_before_versions_opens_with_its_models(tmp_path, url):
    header = a_header()
    manifest = header.manifest
    row = (
        *(manifest.model_id, manifest.cohort, manifest.owner, "active"),
        *(manifest.to_json(), manifest.digest(), header.salt, 1_700_000_000),
    )
    with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as file:
        file.executescript(FIRST_SCHEMA)
        file.execute("INSERT INTO models VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        file.commit()
    assert look(url).states == {manifest.model_id: "active"}
    for _ in range(2):
        with closing(Registry(url)) as opened:
            assert [each.salt for each in opened.active("digits")] == [header.salt]
            assert opened.get(added(opened)).state == State.UPLOADED
    assert versions(tmp_path) == [SCHEMA_VERSION]


def test_w65_a_registry_of_a_newer_release_is_refused_in_a_line_and_left_alone(
    tmp_path, registry, url
):
    assert versions(tmp_path) == [SCHEMA_VERSION]
    with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as file:
        file.execute("UPDATE meta SET schema_version = schema_version + 1")
        file.execute("DROP TABLE models")
        file.commit()
    with pytest.raises(ConfigError, match=f"version {SCHEMA_VERSION + 1}.*reads {SCHEMA_VERSION};"):
        Registry(url)
    assert versions(tmp_path) == [SCHEMA_VERSION + 1]
    with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as file:
        assert file.execute("SELECT name FROM sqlite_master WHERE name = 'models'").fetchall() == []


def versions(folder) -> list[int]:
    with closing(sqlite3.connect(folder / "registry.sqlite")) as file:
        return [version for (version,) in file.execute("SELECT schema_version FROM meta")]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("nonsense", "not a database URL"),
        ("sqlite:////nonexistent/folder/x.sqlite", "cannot open"),
        ("postgresql+nonesuch://user:hidden@db/x", "not a database URL|install"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused_without_showing_its_url(url, why):
    with pytest.raises(ConfigError, match=why) as refused:
        Registry(url)
    assert "hidden" not in str(refused.value)


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
