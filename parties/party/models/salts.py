"""The salts of a registry as another process sees them, beside the party that owns the database.

It reads them and keeps them in another form, which changes nothing for the party. Sees this party's
salts as the vault keeps them.
"""

from collections.abc import Mapping

from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from parties.party.models.database import connect, erase_old_pages
from parties.party.models.ownership import FileOwner
from parties.party.models.reading import Reading
from parties.party.models.tables import Model, RefreshedShare


class Salts(Reading):
    """A registry without its ownership."""

    def __init__(self, url: str) -> None:
        """Raises ConfigError when the URL cannot be used."""
        self._engine = connect(url)
        sessions = sessionmaker(self._engine, expire_on_commit=False)
        super().__init__(sessions, FileOwner(self._engine, None))

    def replace_salts(self, salts: Mapping[bytes, bytes]) -> None:
        """In place of each key, if it is still there, its value."""
        with self._sessions.begin() as session:
            replace(session, salts)
        erase_old_pages(self._engine)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def replace(session: Session, salts: Mapping[bytes, bytes]) -> None:
    """In place of each key, if it is still there, its value."""
    for before, after in salts.items():
        for table in (Model, RefreshedShare):
            session.execute(update(table).where(table.salt == before).values(salt=after))
