"""Receives shares of models: checks the manifest, stores the bytes, registers the model.

Sees one additive share of each model, as bytes it never interprets, and this party's salt of it.
"""

import logging
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
from privedge.identity.roles import OWNER_NAME, Identity, Role
from privedge.ran.narrow import tensor_bits
from privedge.sharing.manifest import ModelManifest, UploadHeader
from privedge.sharing.ring import RING_BITS

log = logging.getLogger(__name__)

_MIB = 1 << 20
# Models in one upload, and in one activation.
MOST_AT_ONCE, MOST_ACTIVATED = 1000, 10_000

_Sent = tuple[UploadHeader, bytes]


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
        with self._only_upload([manifest.model_id], caller.name):
            self._settle(manifest.model_id)
            row = self._registry.get(manifest.model_id)
            if row is not None:
                size = self._repeated(row, header)
                # Missing if the process died after an upload that it could not take back.
                if row.state == State.UPLOADED and not self._files.path(row.model_id).exists():
                    self._files.store(header, self._counted(chunks))
                return size
            self._require_places([manifest.owner], caller)
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

    def take_all(self, models: Sequence[tuple[UploadHeader, bytes]], caller: Identity) -> int:
        """Store many shares, each with its header; returns their size once all are synced and
        registered, in one commit.

        Raises as `take` does, and then leaves nothing behind, of none of them.
        """
        ids = [header.manifest.model_id for header, _ in models]
        if len(set(ids)) < len(ids) or len(ids) > MOST_AT_ONCE:
            raise ShareError(f"upload: at most {MOST_AT_ONCE} models at once, each with its own id")
        for header, _ in models:
            self._check(header.manifest, caller)
        with self._only_upload(ids, caller.name):
            for model_id in ids:
                self._settle(model_id)
            new, lost = self._sorted_out(models)
            self._require_places([header.manifest.owner for header, _ in new], caller)
            wanted = [*new, *lost]
            self._disk.require_room(sum(header.manifest.share_bytes for header, _ in wanted))
            if wanted:
                self._store_all(wanted, [header for header, _ in new])
        self._audit.record_all(
            "upload",
            [{**about(header.manifest), "bytes": header.manifest.share_bytes} for header, _ in new],
        )
        log.info("%d models: stored", len(new))
        return sum(header.manifest.share_bytes for header, _ in models)

    def _sorted_out(self, models: Sequence[_Sent]) -> tuple[list[_Sent], list[_Sent]]:
        """Those that are new, and those that are registered while their file is missing."""
        rows = self._registry.rows([header.manifest.model_id for header, _ in models])
        new, lost = list[_Sent](), list[_Sent]()
        for header, words in models:
            row = rows.get(header.manifest.model_id)
            if row is None:
                new.append((header, words))
                continue
            self._repeated(row, header)
            if row.state == State.UPLOADED and not self._files.path(row.model_id).exists():
                lost.append((header, words))
        return new, lost

    def _store_all(self, shares: Sequence[_Sent], new: Sequence[UploadHeader]) -> None:
        kept = [(header, self._files.vault.kept(header.manifest, header.salt)) for header in new]
        ids = [header.manifest.model_id for header in new]
        parts = [(header, self._counted([words])) for header, words in shares]
        try:
            self._files.store_all(parts, lambda: self._registry.add_all(kept) if kept else None)
        except Exception:
            self._unsettled.update(ids)
            with suppress(Unreachable):
                for model_id in ids:
                    self._settle(model_id)
            raise

    def _require_places(self, owners: Sequence[str], caller: Identity) -> None:
        """Raise LimitExceeded if one of these owners, who upload a model each, would have too many,
        or the registrar who does it for them.
        """
        held = self._registry.counts_live(set(owners))
        for owner, more in Counter(owners).items():
            if held.get(owner, 0) + more > self._limits.max_models_per_owner:
                raise LimitExceeded(f"owner {owner}: too many models; delete one first")
        others = sum(owner != caller.name for owner in owners)
        most = self._limits.max_models_per_registrar
        if others and self._registry.count_below(caller.name) + others > most:
            raise LimitExceeded(f"registrar {caller.name}: more than {most} models of other owners")

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
        if manifest.share_bytes > self._limits.max_share_mib * _MIB:
            raise LimitExceeded(f"{what}: a share of {manifest.share_bytes} bytes is too large")
        cohort = find_for(self._cohorts, manifest.cohort, caller)
        if manifest.owner != caller.name:
            _require_registered(manifest, cohort, caller)
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
    def _only_upload(self, model_ids: Collection[str], owner: str) -> Iterator[None]:
        """One upload per id and per caller at a time."""
        with self._lock:
            for model_id in model_ids:
                other = self._running.get(model_id)
                if other == owner:
                    raise AlreadyExists(f"model {model_id}: its upload is still running")
                if other is not None:
                    raise UnknownModel(f"model {model_id}: not this caller's")
            if owner in self._running.values():
                raise LimitExceeded(f"owner {owner}: another upload is still running")
            self._running |= dict.fromkeys(model_ids, owner)
        try:
            yield
        finally:
            with self._lock:
                for model_id in model_ids:
                    del self._running[model_id]

    def _counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            with self._lock:
                self.bytes_received += len(chunk)
            yield chunk


def _require_registered(manifest: ModelManifest, cohort: Cohort, caller: Identity) -> None:
    """Raise NotAllowed unless the caller is a registrar of another owner, who may join."""
    what, owner = f"model {manifest.model_id}", manifest.owner
    if not cohort.may_act(caller, owner) or not OWNER_NAME.fullmatch(owner):
        raise NotAllowed(f"{what}: its owner is not the caller, nor registered by the caller")
    if not cohort.admits(Identity(Role.OWNER, owner)):
        raise NotAllowed(f"{what}: its owner is not on the list of cohort {cohort.name}")


def about(model: Model | ModelManifest) -> dict[str, str]:
    """Return what an audit log says of a model."""
    return {"model": model.model_id, "cohort": model.cohort, "owner": model.owner}
