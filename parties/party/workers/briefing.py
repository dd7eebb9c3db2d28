"""What a worker is told of a snapshot: once, and in pieces; there may be thousands of models."""

from collections.abc import Iterator

from parties.party.models.cohorts import Snapshot
from privedge.wire import worker_pb2

# Of manifests in one message; what else a model takes is small.
_PIECE_BYTES = 1 << 20


def pieces(snapshot: Snapshot) -> Iterator[worker_pb2.Snapshot]:
    """The messages of one lesson."""
    piece = worker_pb2.Snapshot(
        cohort=snapshot.cohort.name,
        id=snapshot.id,
        spec_json=snapshot.cohort.spec.to_json(),
        margin=snapshot.cohort.margin,
        mean_share=snapshot.cohort.mean_share,
    )
    size = 0
    for model in snapshot.models:
        if size > _PIECE_BYTES:
            yield piece
            piece, size = worker_pb2.Snapshot(), 0
        piece.models.add(path=str(model.path), manifest_json=model.manifest_json, salt=model.salt)
        size += len(model.manifest_json)
    yield piece
