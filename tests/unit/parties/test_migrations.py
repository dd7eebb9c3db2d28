"""parties/party/models/migrations.py on both databases: older, newer and interrupted registries."""

import subprocess
import sys
from contextlib import closing

import pytest
from sqlalchemy import create_engine, inspect, text
from test_registry import a_header, added, run, tables

from parties.party.models import database
from parties.party.models.look import look
from parties.party.models.migrations import STEPS, bring_up_to_date, newest
from parties.party.models.registry import Registry
from parties.party.models.tables import State
from privedge.errors import ConfigError

# As the first releases made it: without a table that says its version.
FIRST = """
CREATE TABLE models (
    model_id VARCHAR(32) NOT NULL, cohort VARCHAR(64) NOT NULL, owner VARCHAR(255) NOT NULL,
    state VARCHAR(16) NOT NULL, manifest_json TEXT NOT NULL, manifest_digest VARCHAR(64) NOT NULL,
    salt {bytes} NOT NULL, created_at BIGINT NOT NULL, PRIMARY KEY (model_id)
)"""
ACTIVE = "CREATE UNIQUE INDEX one_active_model ON models (cohort, owner) WHERE state = 'active'"


def first_release(url, *headers):
    """A registry as the first release left it, with these models active."""
    kind = "BLOB" if url.startswith("sqlite") else "BYTEA"
    run(url, FIRST.format(bytes=kind), ACTIVE)
    engine = create_engine(url)
    with engine.begin() as connection:
        for header in headers:
            manifest = header.manifest
            connection.execute(
                text("INSERT INTO models VALUES (:id, :cohort, :owner, 'active', :json, :digest, "
                     ":salt, 1700000000)"),
                {"id": manifest.model_id, "cohort": manifest.cohort, "owner": manifest.owner,
                 "json": manifest.to_json(), "digest": manifest.digest(), "salt": header.salt},
            )  # fmt: skip
    engine.dispose()


def shape(url):
    """Every table with its columns and indexes, as the database describes them."""
    engine = create_engine(url)
    found = inspect(engine)
    described = {
        table: (
            [(each["name"], str(each["type"]), each["nullable"]) for each in
             found.get_columns(table)],
            found.get_pk_constraint(table)["constrained_columns"],
            [(each["name"], each["column_names"], bool(each["unique"])) for each in
             found.get_indexes(table)],
        )
        for table in sorted(found.get_table_names())
    }  # fmt: skip
    engine.dispose()
    return described


def versions(url):
    return [version for (version,) in run(url, "SELECT schema_version FROM meta")]


def test_w65_a_registry_from_before_versions_opens_with_its_models(registry_url):
    header = a_header()
    first_release(registry_url, header)
    assert look(registry_url).states == {header.manifest.model_id: "active"}
    for _ in range(2):
        with closing(Registry(registry_url)) as opened:
            assert [each.salt for each in opened.active("digits")] == [header.salt]
            assert opened.get(added(opened)).state == State.UPLOADED
    assert versions(registry_url) == [newest()]


def test_w65_a_registry_that_was_brought_up_to_date_is_like_a_new_one(registry_url, tmp_path):
    """Whoever adds a step and changes tables.py finds here that both say the same."""
    Registry(registry_url).close()
    new = shape(registry_url)
    drop = [f"DROP TABLE {table}" for table in tables(registry_url)]
    run(registry_url, *drop)
    first_release(registry_url)
    Registry(registry_url).close()
    assert shape(registry_url) == new


def test_w65_a_registry_of_a_newer_release_is_refused_in_a_line_and_left_alone(registry_url):
    Registry(registry_url).close()
    run(registry_url, "UPDATE meta SET schema_version = schema_version + 1", "DROP TABLE models")
    wanted = f"version {newest() + 1}.*reads {newest()};"
    for opened in (Registry, look):
        with pytest.raises(ConfigError, match=wanted) as refused:
            opened(registry_url)
        assert "\n" not in str(refused.value)
    assert versions(registry_url) == [newest() + 1]
    assert "models" not in tables(registry_url)


def test_a_refused_registry_is_not_kept_from_others(registry_url):
    Registry(registry_url).close()
    run(registry_url, "UPDATE meta SET schema_version = schema_version + 1")
    with pytest.raises(ConfigError):
        Registry(registry_url)
    run(registry_url, "UPDATE meta SET schema_version = schema_version - 1")
    Registry(registry_url).close()


def half_a_step(connection):
    connection.execute(text("CREATE TABLE added (x INTEGER)"))
    connection.execute(text("ALTER TABLE models ADD COLUMN y INTEGER DEFAULT 0"))
    raise RuntimeError("interrupted")


def test_w65_a_step_that_fails_leaves_the_schema_of_before(registry_url):
    first_release(registry_url, a_header())
    before = shape(registry_url)
    engine = database.connect(registry_url)
    with pytest.raises(RuntimeError), engine.begin() as connection:
        bring_up_to_date(connection, (*STEPS, half_a_step))
    engine.dispose()
    assert shape(registry_url) == before
    Registry(registry_url).close()


# Killed after the schema has changed, and before anything was committed.
KILLED = """
import os, signal, sys
from sqlalchemy import text
from parties.party.models import database
from parties.party.models.migrations import STEPS, bring_up_to_date

def dies(connection):
    connection.execute(text("CREATE TABLE added (x INTEGER)"))
    print("changed", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

with database.connect(sys.argv[1]).begin() as connection:
    bring_up_to_date(connection, (*STEPS, dies))
"""


def test_w65_a_kill_in_the_middle_of_a_step_leaves_the_schema_of_before(registry_url):
    first_release(registry_url, a_header())
    before = shape(registry_url)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, registry_url], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (-9, "changed\n"), done.stderr
    assert shape(registry_url) == before
    with closing(Registry(registry_url)) as opened:
        assert len(opened.active("digits")) == 1
