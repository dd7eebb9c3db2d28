"""Measure uploads: one share to one party, both shares at once, and a whole `privedge upload`.

Shares travel over mutual TLS on loopback. A party answers once the share has been checked against
its commitments and is on disk. The data is not secret: random words, and a synthetic model for the
whole upload.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from privedge.identity.roles import Role
from privedge.progress import Progress
from privedge.ran.narrow import tensor_bits
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
from privedge.sharing.ring import width
from privedge.user import upload
from privedge.user.party import Party, connect
from privedge_lab.bench import made, system
from privedge_lab.results.rows.bench import UploadRow

_SEED = 1


@dataclass(frozen=True)
class _Parcel:
    """Random words of a model's size, the same for both parties, and their manifest."""

    header: UploadHeader
    tensors: list[bytes] = field(repr=False)

    def to(self, party: Party) -> None:
        """Send the parcel; return once the party has it on disk."""
        party.upload(self.header, (chunk for words in self.tensors for chunk in cut(words)))


def measure(preset: str, repeats: int, progress: Progress) -> UploadRow:
    """Measure each kind of upload `repeats` times.

    Raises ConfigError for an unknown preset, or the error of a party's refusal.
    """
    spec = system.spec_of(preset)
    model = made.models(spec, 1, _SEED)[0]
    one, both, whole = [], [], []
    with system.running(spec) as deployment, ExitStack() as stack:
        config = system.owner_config(deployment, model.owner)
        parties = [
            stack.enter_context(connect(config, role)) for role in (Role.PARTY0, Role.PARTY1)
        ]
        # The kinds take turns, so that a slow moment of the machine affects all equally.
        for done in range(repeats + 1):
            one.append(_seconds(spec, model.owner, parties[:1]))
            both.append(_seconds(spec, model.owner, parties))
            started = time.perf_counter()
            upload.send(model, system.COHORT, config)
            whole.append(time.perf_counter() - started)
            progress("upload", done + 1, repeats + 1)
    share_mb = (
        sum(
            width(tensor_bits(model.spec, name)) * value.size
            for name, value in model.parameters.items()
        )
        / 1e6
    )
    # The first upload of each kind opened the connections, so it does not count.
    return UploadRow(
        preset=preset,
        repeats=repeats,
        share_mb=share_mb,
        one_party_mb_s=share_mb / float(np.median(one[1:])),
        both_mb_s=2 * share_mb / float(np.median(both[1:])),
        whole_s=float(np.median(whole[1:])),
    )


def _seconds(spec: RanSpec, owner: str, parties: Sequence[Party]) -> float:
    """Return the seconds until all `parties` have a share of a fresh upload; then delete it."""
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
        bits = tensor_bits(spec, name)
        words = os.urandom(width(bits) * int(np.prod(shape)))
        committed = commitment(salt, name)
        committed.update(words)
        tensors.append(words)
        entries.append(TensorEntry(name, shape, (committed.hexdigest(),) * 2, bits))
    manifest = ModelManifest(new_model_id(), system.COHORT, owner, spec.digest(), tuple(entries))
    return _Parcel(UploadHeader(manifest, salt), tensors)
