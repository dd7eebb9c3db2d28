"""The snapshots that the front end described to this worker. Sees public facts and this party's
salts.
"""

import threading
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from parties.bounded_dict import BoundedDict
from parties.config.telemetry import TelemetrySection
from privedge.errors import UnknownModel
from privedge.ran.any_spec import Spec
from privedge.ran.rivals import Rivals


@dataclass(frozen=True)
class ModelFile:
    """One model of a snapshot: its share file, and the manifest and salt that the file must fit.

    version, commitments: of the last refresh; empty if there never was one.
    """

    path: Path
    manifest_json: str
    salt: bytes = field(repr=False)
    version: str = ""
    commitments: tuple[str, ...] = ()

    @cached_property
    def name(self) -> bytes:
        """Of these shares at both parties: SHA-256 of the manifest and the version."""
        text = f"{len(self.manifest_json)} {self.manifest_json} {self.version}"
        return sha256(text.encode()).digest()


@dataclass(frozen=True)
class Snapshot:
    """The models that queries of a cohort are answered with, in answer order, and the rule."""

    id: str
    cohort: str
    spec: Spec
    margin: float
    mean_share: float
    models: tuple[ModelFile, ...]
    rivals: Rivals | None = None
    public_owners: int = 0
    telemetry: TelemetrySection | None = None

    @cached_property
    def names(self) -> tuple[bytes, ...]:
        """The names of its models' shares, in order."""
        return tuple(file.name for file in self.models)

    @cached_property
    def spec_digest(self) -> str:
        """SHA-256 (hex) of the architecture."""
        return self.spec.digest()


class SnapshotCache:
    """The snapshots that were stored or read last. Safe to call from several threads."""

    def __init__(self, *, keep: int) -> None:
        """Keep `keep` snapshots; the one that was not used for longest makes way."""
        self._lock = threading.Lock()
        self._snapshots: BoundedDict[str, Snapshot] = BoundedDict(keep)

    def put(self, snapshot: Snapshot) -> None:
        """Store a snapshot."""
        with self._lock:
            self._snapshots[snapshot.id] = snapshot

    def get(self, snapshot_id: str) -> Snapshot:
        """Return a snapshot. Raises UnknownModel if it was never stored, or has made way."""
        with self._lock:
            if snapshot_id not in self._snapshots:
                raise UnknownModel("this worker was not told of the snapshot")
            return self._snapshots.used(snapshot_id)
