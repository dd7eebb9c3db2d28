"""How many images each model was asked about, for its owner.

Every query asks every model of its snapshot, so one number a snapshot is counted, and added to its
models about once a minute. A crash loses what was counted since: nothing is decided by it.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from parties.party.budgets.ledger import Database
from parties.party.models.cohorts import Snapshot
from parties.party.models.tables import Asked
from privedge.errors import DiskFull

# Rows in one statement.
_AT_ONCE = 500


class AskedCounts:
    """Safe to call from many threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        # By snapshot id, what is not in the database yet.
        self._new: dict[str, tuple[Sequence[str], int]] = {}

    def add(self, snapshot: Snapshot, images: int) -> None:
        """So many images were answered from these models."""
        with self._lock:
            _, before = self._new.get(snapshot.id, ((), 0))
            self._new[snapshot.id] = snapshot.model_ids, before + images

    def of(self, model_ids: Sequence[str]) -> dict[str, int]:
        """Return the number of images by model id."""
        with suppress(DiskFull):
            self.close()
        wanted = select(Asked.model_id, Asked.images).where(Asked.model_id.in_(model_ids))
        rows = self._database.record(lambda session: session.execute(wanted).all())
        found = {model_id: images for model_id, images in rows}
        return {model_id: found.get(model_id, 0) for model_id in model_ids}

    def close(self) -> None:
        """Write what was counted. Raises DiskFull, and then it is written another time."""
        with self._lock:
            new = self._new
            if not new:
                return
            self._database.record(lambda session: _store(session, list(new.values())))
            self._new = {}


def _store(session: Session, counts: Sequence[tuple[Sequence[str], int]]) -> None:
    for model_ids, images in counts:
        for start in range(0, len(model_ids), _AT_ONCE):
            some = model_ids[start : start + _AT_ONCE]
            known = set(session.scalars(select(Asked.model_id).where(Asked.model_id.in_(some))))
            fresh = [{"model_id": each, "images": 0} for each in some if each not in known]
            if fresh:
                session.execute(insert(Asked), fresh)
            more = update(Asked).where(Asked.model_id.in_(some))
            session.execute(more.values(images=Asked.images + images))
