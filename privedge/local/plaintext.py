"""The answers of the plaintext fixed-point model, to hold the private ones against.

Sees models and queries in the clear, which only one machine that plays every role can.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from privedge.mpc.clear import ClearEngine
from privedge.mpc.predict import Rule, predict
from privedge.ran.spec import RanSpec
from privedge.sharing.fixed_point import encode

Reals = npt.NDArray[np.float32]

# Bounds the memory of the integer forward pass of all owners; the result does not depend on it.
_BATCH = 20


class Model(Protocol):
    """What is needed of a RAN: user.checkpoint.Ran fits."""

    @property
    def spec(self) -> RanSpec: ...
    @property
    def owner(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, Reals]: ...


class PlainModel:
    """A cohort in the clear."""

    def __init__(self, models: Sequence[Model], margin: float) -> None:
        self._spec = models[0].spec
        self._owners = [model.owner for model in models]
        self._rule = Rule(margin=margin)
        self._parameters = {
            name: _integers(np.stack([model.parameters[name] for model in models]))
            for name in self._spec.parameters()
        }

    def owners(self, features: Reals) -> list[str | None]:
        """Whose image each is, from features (n, *input_shape); None for unknown.

        Exactly the arithmetic that the parties do on shares.
        """
        rows = torch.cat(
            [
                predict(ClearEngine(), self._spec, self._parameters, _integers(part), self._rule)
                for part in np.split(features, range(_BATCH, len(features), _BATCH))
            ]
        )
        return [self._owners[int(row.argmax())] if row.any() else None for row in rows]


def _integers(values: Reals) -> torch.Tensor:
    return torch.from_numpy(encode(values).view(np.int64))
