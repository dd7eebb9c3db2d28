"""Ask the same models in the clear, to compare the private answers with theirs.

Sees every owner's model and every question in plaintext, because the demo plays all owners and the
client. Nobody else in the system can compute any of this.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from privedge.arrays import Features, Pixels
from privedge.ran import features
from privedge.ran.images import fit
from privedge.ran.model import Reconstructor
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.user.checkpoint import Ran
from privedge_lab.reference.model import PlainModel


@dataclass(frozen=True)
class Plain:
    """The models' answer for one image without any privacy.

    fixed, real      the answer in the parties' fixed-point numbers, and in float32
    best             the owner with the least error, whether or not that is good enough
    features         the RANs' input, float32 (*input_shape)
    reconstruction   the features as reconstructed by the RAN of `best`, of the same shape
    """

    fixed: str | None
    real: str | None
    best: str
    features: Features = field(repr=False)
    reconstruction: Features = field(repr=False)


def ask(
    rans: Sequence[Ran], images: Pixels, margin: float, public: PublicFiles = NO_FILES
) -> list[Plain]:
    """Ask all `rans` about each of `images`, uint8 (n, H, W).

    public: the public files that their spec names.
    """
    owners = [ran.owner for ran in rans]
    spec = rans[0].spec
    given = features.extract(spec, fit(images, spec.image_shape), encoder=public.encoder)
    fixed = PlainModel(rans, margin).owners(given)
    rebuilt = np.stack([_reconstructed(ran, given) for ran in rans])
    errors = ((rebuilt - given) ** 2).reshape(len(rans), len(images), -1).sum(axis=2)
    least, second = np.sort(errors, axis=0)[:2]
    return [
        Plain(
            fixed=fixed[at],
            real=owners[best] if least[at] < margin * second[at] else None,
            best=owners[best],
            features=given[at],
            reconstruction=rebuilt[best, at],
        )
        for at, best in enumerate(errors.argmin(axis=0))
    ]


def _reconstructed(ran: Ran, given: Features) -> Features:
    reconstructor = Reconstructor(ran.spec)
    values = {name: torch.from_numpy(ran.parameters[name]) for name in reconstructor.state_dict()}
    reconstructor.load_state_dict(values)
    with torch.no_grad():
        rebuilt: Features = reconstructor(torch.from_numpy(given)).numpy()
    return rebuilt
