"""The versions of a registry's schema: which this release reads, and the way from older ones."""

from sqlalchemy import func, insert, inspect, select, update
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from parties.party.models.database import connect, unusable
from parties.party.models.tables import Base, Meta, Model
from privedge.errors import ConfigError

# Raised when an older release could not read the tables any more, or would misread them. Version 1
# had no `state_folder`: its releases would change models without raising the epoch.
SCHEMA_VERSION = 2


def open_engine(url: str) -> Engine:
    """An engine on the database with all tables there. Raises ConfigError, before any change, if a
    newer release has written it.
    """
    engine = connect(url)
    try:
        with engine.begin() as connection:
            _bring_up_to_date(connection)
    except DBAPIError as error:
        raise unusable(error) from None
    return engine


def version_of(connection: Connection) -> int | None:
    """The version of its schema, None if it has no tables yet. Raises ConfigError if this release
    cannot read it.
    """
    tables = inspect(connection)
    version = None
    if tables.has_table(Meta.__tablename__):
        version = connection.scalar(select(func.max(Meta.schema_version)))
    if version is None:
        return 1 if tables.has_table(Model.__tablename__) else None
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"registry: has schema version {version}, this release reads {SCHEMA_VERSION}; "
            "start the release that wrote it, or restore its backup"
        )
    return int(version)


def _bring_up_to_date(connection: Connection) -> None:
    """Create what is missing."""
    version = version_of(connection)
    Base.metadata.create_all(connection)
    if connection.scalar(select(func.max(Meta.schema_version))) is None:
        connection.execute(insert(Meta).values(schema_version=SCHEMA_VERSION))
    elif version != SCHEMA_VERSION:
        connection.execute(update(Meta).values(schema_version=SCHEMA_VERSION))
