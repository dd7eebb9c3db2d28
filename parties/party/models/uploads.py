"""Receives shares of models: checks the manifest, stores the bytes, registers the model.

Sees one additive share of each model, as bytes it never interprets, and this party's salt of it.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from parties.config.sections import PartyLimits
from parties.party.models.cohorts import Cohort, find_for
from parties.party.models.store import Store
from parties.party.models.tables import Model, State
from privedge.errors import (
    AlreadyExists,
    LimitExceeded,
    NotAllowed,
    ShareError,
    UnknownModel,
    Unreachable,
)
from privedge.identity.roles import Identity
from privedge.ran.narrow import tensor_bits
from privedge.sharing.manifest import ModelManifest, UploadHeader
from privedge.sharing.ring import RING_BITS

log = logging.getLogger(__name__)

_MIB = 1 << 20


class Uploads:
    """The uploads of one party. Safe to call from several threads."""

    def __init__(
        self,
        cohorts: Mapping[str, Cohort],
        store: Store,
        limits: PartyLimits,
    ) -> None:
        self.bytes_received = 0
        self._cohorts = cohorts
        self._registry = store.registry
        self._files = store.files
        self._disk = store.disk
        self._audit = store.audit
        self._limits = limits
        self._lock = threading.Lock()
        # Model id -> owner, for the uploads that run now.
        self._running: dict[str, str] = {}
        # Refused uploads that may be in the registry, because its database went away.
        self._unsettled: set[str] = set()
        self._settling = threading.Lock()

    def take(self, header: UploadHeader, caller: Identity, chunks: Iterable[bytes]) -> int:
        """Store one share; returns its size once it is synced and registered.

        The manifest is checked before the first chunk is read. Raises NotAllowed, UnknownCohort,
        UnknownModel (the id is another owner's), AlreadyExists, ShareError, DigestMismatch,
        LimitExceeded, DiskFull or Unreachable, and then leaves nothing behind.
        """
        manifest = header.manifest
        self._check(manifest, caller)
        with self._only_upload(manifest.model_id, caller.name):
            self._settle(manifest.model_id)
            row = self._registry.get(manifest.model_id)
            if row is not None:
                size = self._repeated(row, header)
                # Missing if the process died after an upload that it could not take back.
                if row.state == State.UPLOADED and not self._files.path(row.model_id).exists():
                    self._files.store(header, self._counted(chunks))
                return size
            if self._registry.count_live(caller.name) >= self._limits.max_models_per_owner:
                raise LimitExceeded(f"owner {caller.name}: too many models; delete one first")
            self._disk.require_room(manifest.share_bytes)
            try:
                counted = self._counted(chunks)
                kept = self._files.vault.kept(manifest, header.salt)
                self._files.store(header, counted, lambda: self._registry.add(header, kept))
            except Exception:
                self._unsettled.add(manifest.model_id)
                with suppress(Unreachable):
                    self._settle(manifest.model_id)
                raise
        log.info("model %s: stored %d bytes", manifest.model_id, manifest.share_bytes)
        self._audit.record("upload", **about(manifest), bytes=manifest.share_bytes)
        return manifest.share_bytes

    def settle(self) -> None:
        """The registry's database is back: what was refused meanwhile is not in it."""
        for model_id in list(self._unsettled):
            self._settle(model_id)

    def _settle(self, model_id: str) -> None:
        with self._settling:  # or an upload could be forgotten that was repeated meanwhile
            if model_id in self._unsettled:
                self._registry.forget(model_id)
                self._unsettled.discard(model_id)

    def _check(self, manifest: ModelManifest, caller: Identity) -> None:
        what = f"model {manifest.model_id}"
        if manifest.owner != caller.name:
            raise NotAllowed(f"{what}: its owner is not the caller")
        if manifest.share_bytes > self._limits.max_share_mib * _MIB:
            raise LimitExceeded(f"{what}: a share of {manifest.share_bytes} bytes is too large")
        cohort = find_for(self._cohorts, manifest.cohort, caller)
        if manifest.spec_digest != cohort.spec_digest:
            raise ShareError(f"{what}: its architecture is not that of cohort {cohort.name}")
        announced = [(entry.name, entry.shape) for entry in manifest.tensors]
        if announced != list(cohort.spec.parameters().items()):
            raise ShareError(f"{what}: its tensors are not those of its architecture")
        for entry in manifest.tensors:
            if entry.word_bits not in (RING_BITS, tensor_bits(cohort.spec, entry.name)):
                raise ShareError(f"{what}: the words of {entry.name} have another width")

    def _repeated(self, row: Model, header: UploadHeader) -> int:
        """The answer to an upload whose id is in the registry already."""
        manifest = header.manifest
        if row.owner != manifest.owner:
            raise UnknownModel(f"model {manifest.model_id}: not this caller's")
        gone = row.state in (State.RETIRED, State.DELETED)
        before = row.manifest_digest, self._files.salt(row)
        if gone or before != (manifest.digest(), header.salt):
            raise AlreadyExists(f"model {manifest.model_id}: this id was used before")
        return manifest.share_bytes

    @contextmanager
    def _only_upload(self, model_id: str, owner: str) -> Iterator[None]:
        """One upload per id and per owner at a time."""
        with self._lock:
            other = self._running.get(model_id)
            if other == owner:
                raise AlreadyExists(f"model {model_id}: its upload is still running")
            if other is not None:
                raise UnknownModel(f"model {model_id}: not this caller's")
            if owner in self._running.values():
                raise LimitExceeded(f"owner {owner}: another upload is still running")
            self._running[model_id] = owner
        try:
            yield
        finally:
            with self._lock:
                del self._running[model_id]

    def _counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            with self._lock:
                self.bytes_received += len(chunk)
            yield chunk


def about(model: Model | ModelManifest) -> dict[str, str]:
    """Return what an audit log says of a model."""
    return {"model": model.model_id, "cohort": model.cohort, "owner": model.owner}
