"""How fast shares travel: one share to one party, both at once, and a whole `privedge upload`.

Over mutual TLS on loopback. A party answers once the share is checked against its commitments and
on disk. What is sent hides nothing: random words, and for the whole upload a made-up model.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from privedge.identity.roles import Role
from privedge.ran.spec import RanSpec
from privedge.rpc.chunks import cut
from privedge.sharing.manifest import (
    ModelManifest,
    TensorEntry,
    UploadHeader,
    commitment,
    new_model_id,
    new_salt,
)
from privedge.sharing.ring import WORD_BYTES
from privedge.user import upload
from privedge.user.party import Party, connect
from privedge_lab.bench import made, system
from privedge_lab.bench.system import Progress
from privedge_lab.results.rows.bench import UploadRow

_SEED = 1


@dataclass(frozen=True)
class _Parcel:
    """A model's worth of random words, the same for both parties, and its manifest."""

    header: UploadHeader
    tensors: list[bytes] = field(repr=False)

    def to(self, party: Party) -> None:
        """Send it; returns once the party has it on disk."""
        party.upload(self.header, (chunk for words in self.tensors for chunk in cut(words)))


def measure(preset: str, repeats: int, progress: Progress) -> UploadRow:
    """Raises ConfigError for an unknown preset, and what a party refuses."""
    spec = system.spec_of(preset)
    model = made.models(spec, 1, _SEED)[0]
    one, both, whole = [], [], []
    with system.running(spec) as deployment, ExitStack() as stack:
        config = system.owner_config(deployment, model.owner)
        parties = [
            stack.enter_context(connect(config, role)) for role in (Role.PARTY0, Role.PARTY1)
        ]
        # Each kind in turn, so that a slow moment of the machine falls on all alike.
        for done in range(repeats + 1):
            one.append(_seconds(spec, model.owner, parties[:1]))
            both.append(_seconds(spec, model.owner, parties))
            started = time.perf_counter()
            upload.send(model, system.COHORT, config)
            whole.append(time.perf_counter() - started)
            progress("upload", done + 1, repeats + 1)
    share_mb = WORD_BYTES * sum(value.size for value in model.parameters.values()) / 1e6
    # The first of each kind opened the connections.
    return UploadRow(
        preset=preset,
        repeats=repeats,
        share_mb=share_mb,
        one_party_mb_s=share_mb / float(np.median(one[1:])),
        both_mb_s=2 * share_mb / float(np.median(both[1:])),
        whole_s=float(np.median(whole[1:])),
    )


def _seconds(spec: RanSpec, owner: str, parties: Sequence[Party]) -> float:
    """Seconds until all `parties` have their share of a fresh upload, which is then deleted."""
    parcel = _parcel(spec, owner)
    with ThreadPoolExecutor(max_workers=len(parties)) as pool:
        started = time.perf_counter()
        for sent in [pool.submit(parcel.to, party) for party in parties]:
            sent.result()
        seconds = time.perf_counter() - started
    for party in parties:
        party.delete(parcel.header.manifest.model_id)
    return seconds


def _parcel(spec: RanSpec, owner: str) -> _Parcel:
    salt = new_salt()
    tensors, entries = [], []
    for name, shape in spec.parameters().items():
        words = os.urandom(WORD_BYTES * int(np.prod(shape)))
        committed = commitment(salt, name)
        committed.update(words)
        tensors.append(words)
        entries.append(TensorEntry(name, shape, (committed.hexdigest(),) * 2))
    manifest = ModelManifest(new_model_id(), system.COHORT, owner, spec.digest(), tuple(entries))
    return _Parcel(UploadHeader(manifest, salt), tensors)
