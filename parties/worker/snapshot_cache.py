"""Which models a snapshot consists of: what the front end told this worker. Sees public facts and
this party's salts.
"""

import threading
from collections.abc import Iterable

from parties.bounded_dict import BoundedDict
from privedge.errors import UnknownModel
from privedge.wire import worker_pb2 as pb


class SnapshotCache:
    """The last few snapshots that were told or asked for. Safe to call from several threads."""

    def __init__(self, *, keep: int) -> None:
        self._lock = threading.Lock()
        self._snapshots: BoundedDict[str, pb.Snapshot] = BoundedDict(keep)

    def learn(self, pieces: Iterable[pb.Snapshot]) -> None:
        """Remember the snapshot that comes in these pieces."""
        whole = pb.Snapshot()
        for piece in pieces:
            whole.MergeFrom(piece)
        with self._lock:
            self._snapshots[whole.id] = whole

    def get(self, snapshot_id: str) -> pb.Snapshot:
        """Raises UnknownModel if it was never told, or is forgotten."""
        with self._lock:
            if snapshot_id not in self._snapshots:
                raise UnknownModel("this worker was not told of the snapshot")
            return self._snapshots.used(snapshot_id)
