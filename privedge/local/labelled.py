"""Read the vectors of all owners from one npz file: each label is an owner.

Sees all owners' vectors: for one device that holds them all.
"""

import hashlib
from pathlib import Path

import numpy as np

from privedge.identity.names import mapped, owner_names
from privedge.local.pictures import Owner, Pictures
from privedge.ran import npz, quality
from privedge.ran.images import Measured
from privedge.ran.inputs import digest_of


def look(file: Path) -> Pictures:
    """Find all owners in `file`.

    Raises ImageError for a file without sound vectors and labels.
    """
    given = npz.read(file, as_vectors=True)
    held = given.by_label()
    names = owner_names(list(held))
    owners = tuple(
        Owner(
            names[label],
            file,
            (),
            hashlib.sha256(rows.tobytes()).hexdigest(),
            np.asarray(rows, np.float64),
        )
        for label, rows in held.items()
    )
    said = mapped(names)
    count = sum(each.count for each in owners)
    return Pictures(
        owners,
        Measured(0, 0, 1, count),
        0,
        (said,) if said else (),
        {},
        shared=quality.shared(
            {names[label]: [digest_of(row) for row in rows] for label, rows in held.items()},
            {names[label]: [f"vector {at}" for at in range(len(held[label]))] for label in held},
        ),
        unit_length=given.unit_length,
    )
