"""The salts of a registry as another process sees them, beside the party that owns the database.

It reads them and keeps them in another form, which changes nothing for the party. Sees this party's
salts as the vault keeps them.
"""

import time
from collections.abc import Mapping

from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from parties.party.models.database import connect, erase_old_pages
from parties.party.models.ownership import FileOwner
from parties.party.models.reading import Reading
from parties.party.models.tables import Model, RefreshedShare

# The party's own readers are in the way of erasing old pages for moments only.
_TRIES, _PAUSE_S = 20, 0.1


class Salts(Reading):
    """A registry without its ownership."""

    def __init__(self, url: str) -> None:
        """Raises ConfigError when the URL cannot be used."""
        self._engine = connect(url)
        sessions = sessionmaker(self._engine, expire_on_commit=False)
        super().__init__(sessions, FileOwner(self._engine, None))

    def replace_salts(self, salts: Mapping[tuple[str, bytes], bytes]) -> None:
        """In place of each salt of a model (its id first), if it is still there, the value."""
        with (
            self._owner.writing() as connection,
            Session(connection) as session,
            session.begin(),
        ):
            replace(session, salts)
        for _ in range(_TRIES):
            if erase_old_pages(self._engine):
                return
            time.sleep(_PAUSE_S)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def replace(session: Session, salts: Mapping[tuple[str, bytes], bytes]) -> None:
    """In place of each salt of a model (its id first), if it is still there, the value."""
    for (model_id, before), after in salts.items():
        for table in (Model, RefreshedShare):
            here = (table.model_id == model_id, table.salt == before)
            session.execute(update(table).where(*here).values(salt=after))
