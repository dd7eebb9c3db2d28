"""The answers of the plaintext fixed-point model, to compare with private answers.

Sees models and queries in the clear, so it needs one machine that plays every role.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from parties.mpc.decision import MARGIN_STEPS, SUMMED, RuleConstants, doubled_thresholds
from parties.mpc.network import Distances, Network
from parties.mpc.predict import Rule, decide
from privedge.arrays import Features, Parameter
from privedge.progress import Progress
from privedge.ran.rivals import Rivals
from privedge.ran.spec import RanSpec
from privedge.sharing.fixed_point import SCALE, encode
from privedge_lab.reference.clear import ClearEngine
from privedge_lab.reference.rounding import Parameters, Reach, reach

# Bound the memory of the integer forward pass; the result does not depend on them.
_BATCH, _OWNERS = 20, 64


class Model(Protocol):
    """The parts of a RAN that are needed here. user.checkpoint.Ran has them."""

    @property
    def spec(self) -> RanSpec: ...
    @property
    def owner(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, Parameter]: ...


@dataclass(frozen=True)
class PlainAnswer:
    """The answer to one image.

    owner: the name of the owner, or None for unknown.
    tie: whether scores are so close to each other, or to a threshold, that rounding (rounding.py)
        may change the answer.
    """

    owner: str | None
    tie: bool


@dataclass(frozen=True)
class Scores:
    """Bounds of the dissimilarities under rounding, at scale 2f.

    least, greatest: the bounds of each dissimilarity, float64 (B, N).
    thresholds: the owners' thresholds, float64 (N,).
    rivals: the dissimilarities of the public rivals, float64 (B, M); None for none. They are exact.
    """

    least: torch.Tensor = field(repr=False)
    greatest: torch.Tensor = field(repr=False)
    thresholds: torch.Tensor = field(repr=False)
    rivals: torch.Tensor | None = field(default=None, repr=False)


class PlainModel:
    """A cohort in the clear."""

    def __init__(
        self,
        models: Sequence[Model],
        margin: float,
        mean_share: float = 0.0,
        rivals: Rivals | None = None,
    ) -> None:
        """Make the model. `models` may create its entries on access: few are held at once."""
        self._models = models
        self._rule = Rule(margin=margin, mean_share=mean_share, rivals=rivals)

    def owners(self, features: Features) -> list[str | None]:
        """Return the name of each image's owner, or None for unknown.

        features: float32 (n, *input_shape). The arithmetic is exactly what the parties compute on
        shares, except that truncation is the floor.
        """
        return self._answered(features, None)

    def answers(self, features: Features, progress: Progress | None = None) -> list[PlainAnswer]:
        """Answer as `owners` does, and mark ties. Needs up to ten times as long."""
        reached: list[Scores] = []
        owners = self._answered(features, reached, progress)
        rivals = reached[0].rivals
        scores = Scores(
            torch.cat([each.least for each in reached], 1),
            torch.cat([each.greatest for each in reached], 1),
            torch.cat([each.thresholds for each in reached]),
            None if rivals is None else rivals.double(),
        )
        tied = ties(scores, self._rule.margin, self._rule.mean_share)
        return [PlainAnswer(owner, bool(tie)) for owner, tie in zip(owners, tied, strict=True)]

    def _answered(
        self, features: Features, reached: list[Scores] | None, progress: Progress | None = None
    ) -> list[str | None]:
        """Return the owner of each image. Appends the bounds of the scores to `reached`."""
        names: list[str] = []
        columns: list[torch.Tensor] = []
        public = self._rule.rivals
        rivals = None if public is None else torch.from_numpy(public.words)
        to_rivals: torch.Tensor | None = None
        thresholds: list[torch.Tensor] = []
        parts = _integers(features).split(_BATCH)
        blocks = -(-len(self._models) // _OWNERS)
        for start in range(0, len(self._models), _OWNERS):
            some = self._models[start : start + _OWNERS]
            names += [model.owner for model in some]
            spec, parameters = some[0].spec, _stacked(some)
            network = Network(spec, parameters, ClearEngine())
            exact, nearby, reaches = [], [], []
            for part in parts:
                found = network.distances(part, rivals)
                exact.append(found.owners)
                nearby += [] if found.rivals is None else [found.rivals]
                if reached is not None:
                    reaches.append(reach(spec, parameters, part))
                if progress is not None:
                    done = len(columns) * len(parts) + len(exact)
                    progress("answers in the clear", done, blocks * len(parts))
            columns.append(torch.cat(exact))
            thresholds.append(parameters["threshold"])
            to_rivals = torch.cat(nearby) if nearby else None  # the same for all owners
            if reached is not None:
                reached.append(_scores(columns[-1], reaches, thresholds[-1], to_rivals))
        whole = torch.cat([part.flatten(1).square().sum(1) for part in parts])
        distances = Distances(torch.cat(columns, 1), to_rivals, whole)
        rows = decide(ClearEngine(), distances, torch.cat(thresholds), self._rule, spec)
        return [names[int(row.argmax())] if row.any() else None for row in rows]


def ties(scores: Scores, margin: float, mean_share: float = 0.0) -> torch.Tensor:
    """Return bool (B,): whether some scores within their bounds give different answers."""
    low, high, limits = scores.least, scores.greatest, scores.thresholds
    weights = RuleConstants.of(margin, mean_share, low.size(1))

    def below(values: torch.Tensor, others: torch.Tensor, unit: int) -> torch.Tensor:
        second = _least_of_others(others)
        # No rival is rounded, and none goes into the mean, without which alone there are any.
        if scores.rivals is not None:
            second = torch.minimum(second, scores.rivals.min(1, keepdim=True).values)
        # A truncated sum may be one unit of 2^16 lower or higher for every thousand owners.
        sums = others.sum(1, keepdim=True) + unit * (low.size(1) // SUMMED + 1) * SCALE
        bound = (weights.second * second + weights.mean * sums / SCALE) / MARGIN_STEPS
        return (values < bound) & (values < second) & (values < limits)

    surely, perhaps = below(high, low, -1), below(low, high, 1)
    return (perhaps & ~surely).any(1)


def _least_of_others(values: torch.Tensor) -> torch.Tensor:
    """(B, N) -> (B, N): the least of the other values in the row; infinite if there are none."""
    padded = torch.nn.functional.pad(values, (0, 1), value=torch.inf)
    least = padded.topk(2, largest=False)
    places = torch.arange(values.size(1))
    return torch.where(places == least.indices[:, :1], least.values[:, 1:], least.values[:, :1])


def _stacked(models: Sequence[Model]) -> Parameters:
    return {
        name: _integers(np.stack([model.parameters[name] for model in models]))
        for name in models[0].spec.parameters()
    }


def _scores(
    exact: torch.Tensor,
    reaches: Sequence[Reach],
    thresholds: torch.Tensor,
    rivals: torch.Tensor | None,
) -> Scores:
    falls, rises = (torch.cat(parts) for parts in zip(*reaches, strict=True))
    doubled = doubled_thresholds(ClearEngine(), thresholds, 1).double()
    return Scores(exact.double() - falls, exact.double() + rises, doubled, rivals)


def _integers(values: Features) -> torch.Tensor:
    return torch.from_numpy(encode(values).view(np.int64))
