"""LeNet as operators serve it: a dealer and two parties on loopback, gRPC with mutual TLS, full
pools. Its scores leave, so that they can be compared.
"""

import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch

from privedge.client.query import Client
from privedge.local.deployment import CohortSetting, Deployment
from privedge.user import upload
from privedge.user.served_model import Model
from privedge_lab.bench import system
from privedge_lab.bench.deployed import Pools
from privedge_lab.bench.programs.ours import Measured
from privedge_lab.bench.programs.written import IMAGE, lenet

NAME = "LeNet, 1 image, served"

_OWNER = "bench"
# The first query opens no weight: a rehearsal has. It shows the parties what size is asked for.
_COLD = 1


def measure(expected: torch.Tensor, times: int) -> Measured:
    """Ask `times` times about one image. Seconds are the client's: from sending both shares to the
    scores. `expected`: the scores in the clear, (1, 10).
    """
    model = Model.from_torch(
        lenet(torch.nn), tuple(IMAGE.shape[1:]), owner=_OWNER, name="lenet", outputs="scores"
    )
    cohort = CohortSetting(system.COHORT, owners=(_OWNER,), spec_json=model.spec.to_json())
    with (
        tempfile.TemporaryDirectory(prefix="privedge-bench-") as folder,
        Deployment(Path(folder), [cohort]) as deployment,
        Client(system.client_config(deployment)) as client,
    ):
        upload.send(model, system.COHORT, system.owner_config(deployment, _OWNER))
        pools = Pools(deployment)
        replies = []
        for number in range(_COLD + times):
            replies.append(client.predict(IMAGE.numpy(), system.COHORT))
            if not number:
                pools.wait_listed()
            pools.wait_full()
    scores = np.array([reply.answers[0].scores for reply in replies])
    cost = replies[-1].costs[0]
    return Measured(
        statistics.median(reply.seconds for reply in replies[_COLD:]),
        cost.rounds,
        cost.bytes_to_peer,
        float(np.abs(scores - expected.numpy()).max()),
    )
