"""Ask one model in the clear. Sees the model and what it is asked about."""

import torch

from privedge.arrays import Features
from privedge.ran.model import Reconstructor
from privedge.sharing.known import Reals
from privedge.user.checkpoint import Ran

# Bounds the memory of the forward pass; the result does not depend on it.
_BATCH = 256


def errors_of(ran: Ran, features: Features) -> Reals:
    """Sums of squared differences in float32, as float64 (n,), for features (n, *input_shape)."""
    reconstructor = Reconstructor(ran.spec)
    values = {name: torch.from_numpy(ran.parameters[name]) for name in reconstructor.state_dict()}
    reconstructor.load_state_dict(values)
    with torch.no_grad():
        sums = [
            (reconstructor(part) - part).square().flatten(1).sum(1)
            for part in torch.from_numpy(features.copy()).split(_BATCH)
        ]
    found: Reals = torch.cat(sums).double().numpy()
    return found
