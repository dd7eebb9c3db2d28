"""One party's half of a refresh of shares: prepare a new share, then use it or drop it.

    prepared    shares/ID.VERSION.next is on disk; at party 1 the registry has its commitments too
    in use      the registry says so (one transaction), then the file takes the place of the old one
    dropped     nothing is left

docs/adr/0020-shares-at-rest.md has the whole of it. Sees one additive share of models, a piece at a
time, this party's salts, and the seeds of refreshes.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from parties.at_rest.zero_sharing import SEED_BYTES, ZeroSharing, new_seed
from parties.party.models.cohorts import ModelRef
from parties.party.models.disk import Disk
from parties.party.models.reading import Kept
from parties.party.models.registry import Registry
from parties.party.models.share_files import ShareFiles
from parties.party.models.tables import Model, RefreshedShare, State
from privedge.errors import (
    Busy,
    DeadlineExceeded,
    DigestMismatch,
    ManifestMismatch,
    Restarting,
    ShareError,
)

log = logging.getLogger(__name__)

# Party 0 commits nothing that it prepared longer ago, and party 1 keeps it for twice as long. So
# party 1 always has what party 0 commits.
LONGEST_S = 1800.0
_FORGOTTEN_S = 2 * LONGEST_S


class Prepared:
    """Party 0: refreshed shares that both parties have on disk, to be used or dropped."""

    def __init__(self, refreshes: "Refreshes") -> None:
        self._refreshes = refreshes
        self._began = time.monotonic()
        self.shares: list[RefreshedShare] = []

    def use(self, model_ids: Collection[str]) -> int:
        """Use those of these models; returns how many. Raises DeadlineExceeded if it is late."""
        if time.monotonic() - self._began > LONGEST_S:
            raise DeadlineExceeded("the refresh took too long")
        shares = [share for share in self.shares if share.model_id in model_ids]
        self._refreshes.use(shares)
        return len(shares)


class Refreshes:
    """The refreshed shares of one party. Safe to call from several threads."""

    def __init__(
        self,
        registry: Registry,
        files: ShareFiles,
        disk: Disk,
        rows: AbstractContextManager[object],
        suspect: Callable[[list[str]], None],
    ) -> None:
        """`rows`: a lock that keeps every row in its state. `suspect` is told of models whose
        present share cannot be read.
        """
        self._registry = registry
        self._files = files
        self._disk = disk
        self._rows = rows
        self._suspect = suspect
        self._running = threading.Lock()
        self._stopping = threading.Event()

    @contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """Party 0: only one refresh until the block ends. Raises Busy."""
        if not self._running.acquire(blocking=False):
            raise Busy("a refresh is running")
        try:
            yield
        finally:
            self._running.release()

    def stop(self) -> None:
        """Party 0: end a refresh that is being prepared, and begin none."""
        self._stopping.set()

    @contextmanager
    def prepared_for(
        self, rows: Iterable[Model], tell: Callable[[Model, bytes], None]
    ) -> Iterator[Prepared]:
        """Party 0: prepare new shares of these models here, and at party 1 by `tell`, which gets
        each with its seed. What the block does not use is dropped.

        Left out is a model that is no longer active, or whose share is damaged at either party: its
        owner must not keep the others from new shares. Raises DiskFull, Restarting after `stop`,
        and what else `tell` raises.
        """
        prepared = Prepared(self)
        try:
            for row in rows:
                if self._stopping.is_set():
                    raise Restarting("party 0 is about to end")
                try:
                    self._prepare_both(row, tell, prepared.shares)
                except (DigestMismatch, ManifestMismatch) as error:
                    if self._is_active(_ref(row)):  # or it was replaced, and nothing is wrong
                        log.error("%s; it is left out of this refresh", error)
            yield prepared
        finally:
            self._drop_unused(prepared.shares)

    def answer(self, ref: ModelRef, seed: bytes) -> None:
        """Party 1: see ModelService.prepare_refresh."""
        if len(seed) != SEED_BYTES:
            raise ShareError(f"a refresh needs a seed of {SEED_BYTES} bytes")
        row = self._registry.get(ref.model_id)
        if row is None or not self._is_active(ref):
            raise _not_active(ref)
        zero = ZeroSharing(seed, row.model_id, row.manifest_digest, row.version)
        self._forget([row.model_id])  # before there must be room for one more
        known_versions = {each.version for each in self._registry.refreshes(row.model_id)}
        if zero.version not in known_versions or not self._has(row.model_id, zero.version):
            self._record(ref, self._prepare(row, zero))

    def older_than(self, seconds: float, cohorts: Iterable[str]) -> list[str]:
        """Those of these cohorts with an active model whose share is that old."""
        due = time.time() - seconds
        return [
            name
            for name in cohorts
            if any(row.share_since <= due for row in self._registry.active(name))
        ]

    def use(self, shares: Collection[RefreshedShare]) -> None:
        """From now on these are the shares of their models. The old ones are destroyed."""
        if not shares:
            return
        self._registry.use_refreshed(shares)
        failed = [share.model_id for share in shares if not self._taken_over(share)]
        if failed:  # left out until it succeeds: the quarantine tries again
            self._suspect(failed)
        log.info("refreshed the shares of %d models", len(shares))

    def catch_up(self, refs: Iterable[ModelRef], rows: Mapping[str, Kept]) -> set[str]:
        """Party 1: use the versions that party 0 uses, as far as they are prepared.

        Returns the ids of the models whose shares do not fit party 0's. `rows`, by id, are all of
        the cohort. What was prepared of those, and party 0 can no longer commit, is dropped.
        """
        differing = [ref for ref in refs if ref.version != rows[ref.model_id].version]
        prepared = {
            (each.model_id, each.version): each
            for each in (self._registry.refreshes() if differing else ())
            if self._has(each.model_id, each.version)
        }
        keys = [(ref.model_id, ref.version) for ref in differing]
        self.use([prepared[key] for key in keys if key in prepared])
        self._forget(rows)
        return {key[0] for key in keys if key not in prepared}

    def _is_active(self, ref: ModelRef) -> bool:
        row = self._registry.get(ref.model_id)
        known = row and (row.state, row.manifest_digest, row.version)
        return known == (State.ACTIVE, ref.manifest_digest, ref.version)

    def _prepare_both(
        self, row: Model, tell: Callable[[Model, bytes], None], shares: list[RefreshedShare]
    ) -> None:
        """Prepare a new share at both parties, and add party 0's to `shares`."""
        if not self._is_active(_ref(row)):
            return
        seed = new_seed()
        zero = ZeroSharing(seed, row.model_id, row.manifest_digest, row.version)
        shares.append(self._prepare(row, zero))
        try:
            tell(row, seed)
        except (DigestMismatch, ManifestMismatch):
            self._drop_unused([shares.pop()])
            raise

    def _prepare(self, row: Model, zero: ZeroSharing) -> RefreshedShare:
        """Write the refreshed share of a model beside its present one."""
        self._disk.require_room(row.share_bytes)
        try:
            salt, commitments = self._files.refresh(row, zero)
        except (ShareError, DigestMismatch, OSError):
            self._suspect([row.model_id])
            raise DigestMismatch(f"model {row.model_id}: its share is damaged") from None
        return RefreshedShare(
            model_id=row.model_id,
            version=zero.version,
            in_use=False,
            salt=self._files.vault.kept(row.manifest, salt),
            commitments_json=json.dumps(commitments),
            created_at=int(time.time()),
        )

    def _drop_unused(self, shares: Iterable[RefreshedShare]) -> None:
        """Whatever has happened: what the registry says is in use is the only copy."""
        for share in shares:
            row = self._registry.get(share.model_id)
            if row is None or row.version != share.version:
                self._files.drop_refreshed(share.model_id, share.version)

    def _taken_over(self, share: RefreshedShare) -> bool:
        try:
            self._files.take_over(share.model_id, share.version)
        except OSError as error:
            log.error("model %s: its new share is not in place: %s", share.model_id, error.strerror)
            return False
        return True

    def _record(self, ref: ModelRef, share: RefreshedShare) -> None:
        """Party 1: keep what was prepared until party 0 has said which version it uses.

        It also keeps the newest one of before: if this call is late, party 0 may use that one.
        """
        before = self._registry.refreshes(ref.model_id)
        others = [each for each in before if each.version != share.version]
        try:
            with self._rows:
                if not self._is_active(ref):
                    raise _not_active(ref)
                self._registry.prepare_refresh(share)
        except Exception:  # then party 0 does not use it
            self._drop_unused([share])
            raise
        self._drop(sorted(others, key=lambda each: each.created_at)[:-1])

    def _forget(self, model_ids: Container[str]) -> None:
        """Party 1: drop what was prepared of these models so long ago that party 0 cannot commit it
        any more. Only once party 0 has said which versions it uses: it may have committed one while
        this party was away.
        """
        oldest = time.time() - _FORGOTTEN_S
        prepared = [each for each in self._registry.refreshes() if each.model_id in model_ids]
        self._drop([each for each in prepared if each.created_at < oldest])

    def _drop(self, shares: Collection[RefreshedShare]) -> None:
        self._registry.forget_refreshes(shares)
        self._drop_unused(shares)

    def _has(self, model_id: str, version: str) -> bool:
        return self._files.has_refreshed(model_id, version)


def _ref(row: Model) -> ModelRef:
    return ModelRef(row.model_id, row.manifest_digest, row.version)


def _not_active(ref: ModelRef) -> ManifestMismatch:
    return ManifestMismatch(f"model {ref.model_id}: not active here with that share")
