"""The same cohort asked three ways: in float32, in the parties' numbers, and privately.

plain   errors in float32; the least one wins
fixed   the parties' fixed-point arithmetic, in the clear (lab/privedge_lab/reference/model.py)
fused   dealer and two parties as processes on this machine, asked through the real client

Answers are numbers of owners, -1 for nobody. Sees all models and questions in the clear: an
experiment plays every role.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt

from privedge.arrays import Inputs, Labels
from privedge.client.answers import Reply
from privedge.client.query import Client
from privedge.config import ClientConfig
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.progress import Progress
from privedge.ran.feature_kinds import Encoder
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.user import threshold, upload
from privedge.user.asking import errors_of as errors_of
from privedge.user.checkpoint import Ran
from privedge_lab.reference.model import PlainAnswer, PlainModel

ENGINES = ("plain", "fixed", "fused")
COHORT = "evaluate"
# Closed set: somebody is always best enough, so that every answer can be compared.
_MARGIN = 1.0
# A large preset on a slow machine takes long, but not for ever.
_TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class Asked:
    """Private answers, int64 (n,), and what a question took; bytes as `bytes_of` counts them."""

    answers: Labels = field(repr=False)
    seconds: tuple[float, ...]
    bytes_per_query: int


def closed(rans: Sequence[Ran]) -> list[Ran]:
    """The same models without thresholds: nobody's image is refused."""
    unused = np.array([threshold.UNUSED], np.float32)
    return [replace(ran, parameters={**ran.parameters, "threshold": unused}) for ran in rans]


def fixed(rans: Sequence[Ran], features: npt.NDArray[np.float32]) -> Labels:
    """What the parties would answer, without ties told apart, which takes a tenth of the time."""
    return numbered(rans, PlainModel(closed(rans), _MARGIN).owners(features))


def with_ties(rans: Sequence[Ran], features: npt.NDArray[np.float32]) -> list[PlainAnswer]:
    """What the parties would answer, and where rounding may decide otherwise."""
    return PlainModel(closed(rans), _MARGIN).answers(features)


def fused(
    rans: Sequence[Ran], images: Inputs, progress: Progress, *, files: PublicFiles = NO_FILES
) -> Asked:
    """`images`, uint8 of any size, or vectors (n, D), asked one by one.

    files: the public files that the models' spec names. Faces are cut out already, as those of
        `cohort.read` are.

    Raises Unreachable if the servers do not start, and what a party refuses.
    """
    rans = [_of_cuttings(ran) for ran in rans]
    cohort = CohortSetting.of(rans[0].spec, COHORT, margin=_MARGIN)
    with (
        tempfile.TemporaryDirectory(prefix="privedge-evaluate-") as folder,
        Deployment(Path(folder), [cohort], {"query_deadline_s": _TIMEOUT_S}) as deployment,
    ):
        for done, ran in enumerate(closed(rans), start=1):
            owner = Identity(Role.OWNER, ran.owner)
            upload.send(ran, COHORT, deployment.client_config(owner, rpc_timeout_s=_TIMEOUT_S))
            progress("upload", done, len(rans))
        asker = Identity(Role.CLIENT, "evaluator")
        config = deployment.client_config(asker, rpc_timeout_s=_TIMEOUT_S, files=files)
        return _ask(config, rans, images, progress)


def _of_cuttings(ran: Ran) -> Ran:
    """The same model with a spec that has nothing cut out."""
    features = ran.spec.features
    if not isinstance(features, Encoder) or features.aligned is None:
        return ran
    whole = features.model_copy(update={"aligned": None})
    return replace(ran, spec=ran.spec.model_copy(update={"features": whole}))


def bytes_of(reply: Reply) -> int:
    """Online bytes of a question: client and parties, and the parties to each other."""
    between = sum(cost.bytes_to_peer for cost in reply.costs)
    return reply.bytes_sent + reply.bytes_received + between


def numbered(rans: Sequence[Ran], owners: Sequence[str | None]) -> Labels:
    """Owners by name as numbers, -1 for nobody."""
    numbers = {ran.owner: number for number, ran in enumerate(rans)}
    return np.array([-1 if owner is None else numbers[owner] for owner in owners], np.int64)


def _ask(config: ClientConfig, rans: Sequence[Ran], images: Inputs, progress: Progress) -> Asked:
    owners: list[str | None] = []
    seconds, sizes = [], []
    with Client(config) as asking:
        for done, image in enumerate(images, start=1):
            started = perf_counter()
            reply = asking.identify(image[None], COHORT)
            seconds.append(perf_counter() - started)
            sizes.append(bytes_of(reply))
            owners.append(reply.answers[0].owner)
            progress("ask", done, len(images))
    # The median: the first question of a cohort opens the masked weights, once for all.
    return Asked(numbered(rans, owners), tuple(seconds), round(float(np.median(sizes))))
