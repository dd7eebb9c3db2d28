"""Ask the same models in the clear, to compare the private answers with theirs.

Sees every owner's model and every question in plaintext, because the demo plays all owners and the
client. Nobody else in the system can compute any of this.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image

from privedge.arrays import Features, Pixels
from privedge.ran import features, inputs, rivals
from privedge.ran.alignment import aligner_for
from privedge.ran.model import Reconstructor
from privedge.ran.rivals import Rivals
from privedge.sharing import known
from privedge.user.checkpoint import Ran
from privedge_lab.demo.task import Task
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


def ask(rans: Sequence[Ran], task: Task, pictures: Sequence[Pixels]) -> list[Plain]:
    """Ask all `rans` about each of `pictures`, by the rule of the task's cohort."""
    if not pictures:
        return []
    spec, owners = task.spec, [ran.owner for ran in rans]
    public = None if task.rivals is None else rivals.read(task.rivals, spec)
    chips = inputs.given(
        [Image.fromarray(picture) for picture in pictures],
        spec.image_shape,
        aligner=aligner_for(spec, task.public),
    )
    given = features.extract(spec, chips, encoder=task.public.encoder)
    fixed = PlainModel(rans, task.margin, rivals=public).owners(given)
    rebuilt = np.stack([_reconstructed(ran, given) for ran in rans])
    errors = ((rebuilt - given) ** 2).reshape(len(rans), len(given), -1).sum(axis=2)
    passes = _ratios(errors, given, public) < task.margin
    return [
        Plain(
            fixed=fixed[at],
            real=owners[best] if passes[at] else None,
            best=owners[best],
            features=given[at],
            reconstruction=rebuilt[best, at],
        )
        for at, best in enumerate(errors.argmin(axis=0))
    ]


def _ratios(errors: Features, given: Features, public: Rivals | None) -> known.Reals:
    to_rivals = None if public is None else known.to_rivals(given, public.rows)
    return known.ratios(errors.T.astype(np.float64), to_rivals)


def _reconstructed(ran: Ran, given: Features) -> Features:
    reconstructor = Reconstructor(ran.spec)
    values = {name: torch.from_numpy(ran.parameters[name]) for name in reconstructor.state_dict()}
    reconstructor.load_state_dict(values)
    with torch.no_grad():
        rebuilt: Features = reconstructor(torch.from_numpy(given)).numpy()
    return rebuilt
