"""A worker stores a snapshot of any size in messages that gRPC carries, and forgets old ones."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from parties.party.edge.codec import snapshot_to_wire
from parties.party.models.cohorts import Cohort, Snapshot, SnapshotModel
from parties.worker.codec import snapshot_from_wire
from parties.worker.snapshot_cache import SnapshotCache
from privedge.errors import UnknownModel
from privedge.ran.presets import preset
from privedge.ran.rivals import Rivals
from privedge.rpc.channel import MAX_MESSAGE_BYTES

SPEC = preset("subspace32", height=32, width=32, channels=1)


def snapshot(models: int, manifest_bytes: int = 1) -> Snapshot:
    return Snapshot(
        Cohort("digits", SPEC, 0.5, 0.25),
        tuple(
            SnapshotModel(
                owner=f"owner-{n}",
                model_id=f"{n:032x}",
                manifest_digest="",
                manifest_json="m" * manifest_bytes,
                path=Path(f"/shares/{n}"),
                salt=os.urandom(32),
            )
            for n in range(models)
        ),
    )


@pytest.mark.parametrize(("models", "manifest_bytes"), [(0, 1), (1, 1), (9000, 900), (9, 1 << 20)])
def test_a_snapshot_is_stored_as_it_is(models, manifest_bytes):
    described, snapshots = snapshot(models, manifest_bytes), SnapshotCache(keep=1)
    messages = list(snapshot_to_wire(described))
    assert all(message.ByteSize() < MAX_MESSAGE_BYTES for message in messages)
    snapshots.put(snapshot_from_wire(messages))
    stored = snapshots.get(described.id)
    assert (stored.id, stored.cohort) == (described.id, "digits")
    assert (stored.margin, stored.mean_share) == (0.5, 0.25)
    assert stored.spec == SPEC
    assert [(each.path, each.manifest_json, each.salt) for each in stored.models] == [
        (each.path, each.manifest_json, each.salt) for each in described.models
    ]


def test_rivals_come_with_the_first_piece_and_are_the_same():
    rows = np.random.default_rng(0).uniform(0, 1, (20, *SPEC.input_shape)).astype(np.float32)
    rivals = Rivals.of(rows, SPEC.input_shape)
    described = snapshot(9000, 900)
    described = replace(described, cohort=replace(described.cohort, rivals=rivals))
    messages = list(snapshot_to_wire(described))
    assert len(messages) > 1
    assert all(message.ByteSize() < MAX_MESSAGE_BYTES for message in messages)
    stored = snapshot_from_wire(messages)
    assert stored.rivals == rivals and (stored.rivals.rows == rows).all()
    assert snapshot_from_wire(snapshot_to_wire(snapshot(1))).rivals is None


def test_the_snapshot_that_was_not_used_for_longest_makes_way():
    first, second, third = (snapshot(n) for n in (1, 2, 3))
    snapshots = SnapshotCache(keep=2)
    snapshots.put(snapshot_from_wire(snapshot_to_wire(first)))
    snapshots.put(snapshot_from_wire(snapshot_to_wire(second)))
    snapshots.get(first.id)
    snapshots.put(snapshot_from_wire(snapshot_to_wire(third)))
    assert len(snapshots.get(first.id).models) == 1 and len(snapshots.get(third.id).models) == 3
    with pytest.raises(UnknownModel):
        snapshots.get(second.id)
