"""Load the share files of a snapshot, stacked over its owners. Sees one share of each model."""

import logging
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from parties.at_rest.vault import Vault, open_share
from parties.bounded_dict import BoundedDict
from parties.worker.snapshot_cache import ModelFile
from privedge.errors import DigestMismatch
from privedge.ran.any_spec import Spec
from privedge.sharing.manifest import ModelManifest, commitment
from privedge.sharing.ring import WORD_BYTES, from_bytes

log = logging.getLogger(__name__)

# A snapshot larger than this is kept alone, because two might not fit into memory.
LARGE_BYTES = 1 << 29

Stacked = dict[str, torch.Tensor]


class Weights:
    """This party's shares of the last few snapshots, kept in memory between queries."""

    def __init__(
        self, vault: Vault, *, keep: int = 2, found: Callable[[], object] = lambda: None
    ) -> None:
        """`vault` reads this party's files. `found` is called when `damaged` has changed."""
        # Ids of models whose file could not be used when it was last read. Only ever replaced as a
        # whole, so that other threads may read it.
        self.damaged: frozenset[str] = frozenset()
        self._found = found
        self._vault = vault
        self._keep = keep
        self._loaded: BoundedDict[str, Stacked] = BoundedDict(keep)

    def load(
        self, snapshot_id: str, spec: Spec, files: Sequence[ModelFile], *, keep: bool = True
    ) -> Stacked:
        """Return name -> int64 (N, *shape), with owners in the order of `files`.

        keep: for a snapshot that is asked once, so that nothing makes way for it, False.

        Raises DigestMismatch, naming the model, if a file is not what its manifest says.
        """
        if not keep:
            return self._read(spec, files)
        if snapshot_id not in self._loaded:
            self._make_room(spec, len(files))
            started = time.perf_counter()
            self._loaded[snapshot_id] = self._read(spec, files)
            seconds = time.perf_counter() - started
            log.info("shares of %d models loaded in %.1f s", len(files), seconds)
        return self._loaded.used(snapshot_id)

    def _make_room(self, spec: Spec, owners: int) -> None:
        """Drop the snapshots least recently used; all of them if the new one is large."""
        words = owners * sum(math.prod(shape) for shape in spec.parameters().values())
        self._loaded.shrink(0 if WORD_BYTES * words > LARGE_BYTES else self._keep - 1)

    def _read(self, spec: Spec, files: Sequence[ModelFile]) -> Stacked:
        stacked = {
            name: torch.empty((len(files), *shape), dtype=torch.int64)
            for name, shape in spec.parameters().items()
        }
        wrong: dict[str, DigestMismatch] = {}
        for position, file in enumerate(files):
            try:
                self._fill(stacked, position, file)
            except DigestMismatch as error:
                wrong[file.path.stem] = error
        # All of them at once, so that they are left out together.
        damaged = (self.damaged - {file.path.stem for file in files}) | wrong.keys()
        if damaged != self.damaged:
            self.damaged = damaged
            self._found()
        for first in wrong.values():
            raise first
        return stacked

    def _fill(self, stacked: Stacked, position: int, file: ModelFile) -> None:
        manifest = ModelManifest.from_json(file.manifest_json)
        what = f"model {manifest.model_id}: its share file"
        try:
            raw = self._bytes(file, manifest)
        except OSError:
            raise DigestMismatch(f"{what} is missing or cannot be read") from None
        if raw is None:
            raise DigestMismatch(f"{what} has another size")
        start = 0
        mine = file.commitments or manifest.commitments_of(self._vault.party)
        for entry, wanted in zip(manifest.tensors, mine, strict=True):
            part = raw[start : start + entry.share_bytes]
            start += entry.share_bytes
            committed = commitment(file.salt, entry.name)
            committed.update(part)
            if committed.hexdigest() != wanted:
                raise DigestMismatch(f"{what} is damaged at {entry.name}")
            words = from_bytes(part, entry.shape, entry.word_bits).view(np.int64)
            stacked[entry.name][position] = torch.from_numpy(words)

    def _bytes(self, file: ModelFile, manifest: ModelManifest) -> memoryview | None:
        """A whole share; None if the file has another size. Raises OSError, DigestMismatch."""
        # Not mapped into memory: a file that is cut meanwhile would end the process.
        raw, end = bytearray(manifest.share_bytes), 0
        with open_share(file.path) as opened:
            for piece in self._vault.pieces(opened, manifest, file.version):
                if end + len(piece) > len(raw):
                    return None
                raw[end : end + len(piece)] = piece
                end += len(piece)
        return memoryview(raw) if end == len(raw) else None
