"""Make the public rivals of a cohort from public pictures or vectors.

Sees those pictures. They must be of nobody who is, or may become, an owner of the cohort: such an
owner would be "unknown" on own pictures that are like the rival. The file tells what the feature
map makes of them, to everybody who has it.
"""

from collections.abc import Sequence

import numpy as np

from privedge.errors import ImageError
from privedge.ran.inputs import Opened
from privedge.ran.public_files import PublicFiles
from privedge.ran.rivals import MAX_RIVALS, Rivals
from privedge.ran.spec import RanSpec
from privedge.user.people import features_of


def make(
    sets: Sequence[Opened],
    spec: RanSpec,
    count: int,
    *,
    seed: int,
    files: PublicFiles,
    largest_face: bool = False,
) -> Rivals:
    """Draw `count` of all pictures or vectors, and return what the feature map makes of them.

    files, largest_face: as for people.inputs_of.

    The same pictures, seed and spec give the same rivals. Raises ImageError for too few that
    differ, and ConfigError as Rivals.of does.
    """
    rows = np.concatenate(
        [features_of(each, spec, files, largest_face=largest_face) for each in sets]
    )
    rows = np.unique(rows.reshape(len(rows), -1), axis=0)  # equal ones count once
    if not 1 <= count <= min(MAX_RIVALS, len(rows)):
        raise ImageError(
            f"count: 1 to {min(MAX_RIVALS, len(rows))} of these {len(rows)} different pictures or "
            f"vectors, not {count}"
        )
    chosen = np.random.default_rng(seed).choice(len(rows), count, replace=False)
    return Rivals.of(rows[np.sort(chosen)].reshape(count, *spec.input_shape), spec.input_shape)
