"""The versions of a registry's schema: which this release reads, and the steps from older ones.

To change the tables:

    1.  change tables.py, for registries that are new
    2.  add a function here that changes a registry of the version before, and list it in STEPS
    3.  give a new column a default in the step: there may be rows

A step says what to do in SQL of its own, not with the classes of tables.py, which will be different
ones when the next step is added. All steps run in one transaction, together with the new version's
number. docs/adr/0021-postgresql.md.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import func, insert, inspect, select, text, update
from sqlalchemy.engine import Connection

from parties.party.models.tables import Base, Meta, Model
from privedge.errors import ConfigError

Step = Callable[[Connection], None]


def _to_2(connection: Connection) -> None:
    """Which state folder a registry belongs to. Version 1 changed models without an epoch."""
    connection.execute(
        text(
            "CREATE TABLE IF NOT EXISTS state_folder (folder VARCHAR(32) NOT NULL PRIMARY KEY, "
            "party INTEGER NOT NULL, deployment VARCHAR(32) NOT NULL, "
            "epoch BIGINT NOT NULL, peer_epoch BIGINT NOT NULL)"
        )
    )


def _to_3(connection: Connection) -> None:
    """Budgets, how often models were asked, and deletions that wait for the other operator."""
    for table in (
        "spent (kind VARCHAR(16) NOT NULL, name VARCHAR(255) NOT NULL, "
        "cohort VARCHAR(64) NOT NULL, hour BIGINT NOT NULL, amount BIGINT NOT NULL, "
        "PRIMARY KEY (kind, name, cohort, hour))",
        "asked (model_id VARCHAR(32) NOT NULL PRIMARY KEY, images BIGINT NOT NULL)",
        "unwanted (model_id VARCHAR(32) NOT NULL PRIMARY KEY)",
    ):
        connection.execute(text(f"CREATE TABLE IF NOT EXISTS {table}"))


def _to_4(connection: Connection) -> None:
    """Refreshed shares. Version 3 would take them for damaged ones (record 20)."""
    connection.execute(
        text(
            "CREATE TABLE IF NOT EXISTS refreshed_shares (model_id VARCHAR(32) NOT NULL, "
            "version VARCHAR(32) NOT NULL, in_use BOOLEAN NOT NULL, "
            f"salt {'BYTEA' if connection.dialect.name == 'postgresql' else 'BLOB'} NOT NULL, "
            "commitments_json TEXT NOT NULL, created_at BIGINT NOT NULL, "
            "PRIMARY KEY (model_id, version))"
        )
    )


def _to_5(connection: Connection) -> None:
    """What came of checks at enrolment."""
    connection.execute(
        text(
            "CREATE TABLE IF NOT EXISTS enrolments (model_id VARCHAR(32) NOT NULL PRIMARY KEY, "
            "outcome VARCHAR(16) NOT NULL)"
        )
    )


def _to_6(connection: Connection) -> None:
    """Refused models, which version 5 does not know, and which of them an operator releases."""
    connection.execute(
        text("CREATE TABLE IF NOT EXISTS released (model_id VARCHAR(32) NOT NULL PRIMARY KEY)")
    )


def _to_7(connection: Connection) -> None:
    """What this party saw of each model's check. Version 6 has none of it, so what is active under
    it may stay, as a model from before there was a check.
    """
    connection.execute(
        text(
            "CREATE TABLE IF NOT EXISTS checks_seen (model_id VARCHAR(32) NOT NULL PRIMARY KEY, "
            "seen VARCHAR(16) NOT NULL)"
        )
    )
    connection.execute(
        text(
            "INSERT INTO checks_seen (model_id, seen) SELECT model_id, 'before' FROM models "
            "WHERE state IN ('active', 'quarantined') "
            "AND model_id NOT IN (SELECT model_id FROM checks_seen)"
        )
    )


# The first one leads from version 1 to version 2.
STEPS: Sequence[Step] = (_to_2, _to_3, _to_4, _to_5, _to_6, _to_7)
# What the last one leads to. Raised with every step.
SCHEMA_VERSION = 7


def newest(steps: Sequence[Step] = STEPS) -> int:
    """The version of a new registry, and the newest that this release reads."""
    return len(steps) + 1


def version_of(connection: Connection, steps: Sequence[Step] = STEPS) -> int | None:
    """The version of a registry's schema, None if it has no tables yet. Raises ConfigError if this
    release cannot read it.
    """
    tables = inspect(connection)
    version = None
    if tables.has_table(Meta.__tablename__):
        version = connection.scalar(select(func.max(Meta.schema_version)))
    if version is None:
        # The first release wrote no version.
        return 1 if tables.has_table(Model.__tablename__) else None
    if version > newest(steps):
        raise ConfigError(
            f"registry: has schema version {version}, this release reads {newest(steps)}; "
            "start the release that wrote it, or restore its backup"
        )
    return int(version)


def bring_up_to_date(connection: Connection, steps: Sequence[Step] = STEPS) -> None:
    """Create the tables, or bring those of an older release to the newest version, in the
    connection's transaction. Raises ConfigError, before any change, as `version_of` does.
    """
    version = version_of(connection, steps)
    if version == newest(steps):
        return
    if version is None:
        Base.metadata.create_all(connection)
    else:
        for step in steps[version - 1 :]:
            step(connection)
        Base.metadata.tables[Meta.__tablename__].create(connection, checkfirst=True)
    written = update(Meta).values(schema_version=newest(steps))
    if not connection.execute(written).rowcount:
        connection.execute(insert(Meta).values(schema_version=newest(steps)))
