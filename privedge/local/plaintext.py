"""The answers of the plaintext fixed-point model, to hold the private ones against.

Sees models and queries in the clear, which only one machine that plays every role can.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from privedge.mpc.clear import ClearEngine
from privedge.mpc.network import Network
from privedge.mpc.predict import Rule, decide
from privedge.ran.spec import RanSpec
from privedge.sharing.fixed_point import encode

Reals = npt.NDArray[np.float32]

# Bound the memory of the integer forward pass; the result does not depend on them.
_BATCH, _OWNERS = 20, 64


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
        """`models` may be made when they are asked for: few of them are held at once."""
        self._models = models
        self._rule = Rule(margin=margin)

    def owners(self, features: Reals) -> list[str | None]:
        """Whose image each is, from features (n, *input_shape); None for unknown.

        Exactly the arithmetic that the parties do on shares.
        """
        names: list[str] = []
        columns, thresholds = [], []
        for start in range(0, len(self._models), _OWNERS):
            some = self._models[start : start + _OWNERS]
            names += [model.owner for model in some]
            parameters = _stacked(some)
            columns.append(_distances(some[0].spec, parameters, features))
            thresholds.append(parameters["threshold"])
        rows = decide(ClearEngine(), torch.cat(columns, 1), torch.cat(thresholds), self._rule)
        return [names[int(row.argmax())] if row.any() else None for row in rows]


def _stacked(models: Sequence[Model]) -> dict[str, torch.Tensor]:
    return {
        name: _integers(np.stack([model.parameters[name] for model in models]))
        for name in models[0].spec.parameters()
    }


def _distances(spec: RanSpec, parameters: dict[str, torch.Tensor], features: Reals) -> torch.Tensor:
    network = Network(spec, parameters, ClearEngine())
    parts = np.split(features, range(_BATCH, len(features), _BATCH))
    return torch.cat([network.dissimilarity(_integers(part)) for part in parts])


def _integers(values: Reals) -> torch.Tensor:
    return torch.from_numpy(encode(values).view(np.int64))
