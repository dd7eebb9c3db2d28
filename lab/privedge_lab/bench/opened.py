"""The dissimilarities that our protocol computes, opened: how far they are from exact ones.

Servers never open them. Both parties run here in one process, as in reference/run.py, on made-up
models and images.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod

import numpy as np
import numpy.typing as npt
import torch

from parties.mpc.bundles import Supply
from parties.mpc.dealing import SessionId
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.network import Network
from parties.mpc.twoparty.learned import ID_BYTES
from parties.mpc.twoparty.live import Live
from parties.mpc.twoparty.maker import TwoParty
from privedge.arrays import Features
from privedge.ran.model import Reconstructor
from privedge.sharing.fixed_point import SCALE, encode
from privedge.user.checkpoint import Ran
from privedge_lab.reference import run
from privedge_lab.reference.recording import QueueLink

# Mean squared errors, (images, owners).
Distances = npt.NDArray[np.float64]


def exact(models: Sequence[Ran], images: Features) -> Distances:
    """In double precision. `images`: float32 (n, *input_shape), after the feature map."""
    given = torch.from_numpy(np.ascontiguousarray(images)).double()
    columns = []
    for model in models:
        network = Reconstructor(model.spec).double()
        named = {name: torch.from_numpy(value) for name, value in model.parameters.items()}
        network.load_state_dict({name: named[name] for name in network.state_dict()})
        with torch.no_grad():
            gaps = (given - network(given)).flatten(1)
        columns.append(gaps.square().mean(1))
    found: Distances = torch.stack(columns, 1).numpy()
    return found


def private(models: Sequence[Ran], images: Features, *, dealer: bool) -> Distances:
    """As both parties compute them, with a dealer or alone. `images`: as in `exact`."""
    spec = models[0].spec
    names = [name for name in spec.parameters() if name != "threshold"]
    stacked = [encode(np.stack([model.parameters[name] for model in models])) for name in names]

    def program(engine: FusedEngine, x: torch.Tensor, *shares: torch.Tensor) -> torch.Tensor:
        parameters = dict(zip(names, shares, strict=True))
        found: torch.Tensor = Network(spec, parameters, engine).dissimilarity(x)
        return found

    supplies = None if dealer else _alone(len(models))
    words = run.run(program, encode(images), *stacked, bundles=supplies).value
    found: Distances = words.view(np.int64) / SCALE**2 / prod(spec.input_shape)
    return found


def _alone(owners: int) -> list[Supply]:
    """Both parties' supplies without a dealer: tuples are made when they are drawn."""
    links, name = QueueLink.pair(), SessionId(os.urandom(16))
    models = tuple(owner.to_bytes(ID_BYTES, "little") for owner in range(owners))
    with ThreadPoolExecutor(len(links)) as threads:
        pairings = list(threads.map(TwoParty, range(len(links)), links))
    return [Live(name, pairing, models) for pairing in pairings]
