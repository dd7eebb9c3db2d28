"""Copy the models of a cohort from labels alone, as any client can.

Lowd and Meek ("Adversarial learning", KDD 2005) and Tramer et al. ("Stealing machine learning
models via prediction APIs", USENIX Security 2016, section 4.2): bisect the line between two
questions with different answers until its end points are close. Each such point lies on the border
between two answers, and so gives one equation for the models. Here the models are fitted to all of
them by gradient descent.

What the attacker knows: the architecture, the names of the owners and the margin, which every
client is told, and examples that are none of the owners'. Its program asks about any features, not
only those of pictures.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from privedge.errors import BudgetSpent, LimitExceeded

# Features float64 (n, D) -> the answer to each, None for unknown. Raises BudgetSpent.
Ask = Callable[[npt.NDArray[np.float64]], Sequence[str | None]]

# Halvings of a line: the ends are 2^-14 of its length apart.
BISECTIONS = 14
# Of all labels, the part that goes into finding questions with different answers.
_SEARCHED = 0.25
# Lines at once.
_LINES = 512
_RATE, _BATCH, _LEAST_STEPS, _STEPS_MORE = 3e-3, 512, 400, 1100
# Border points with which more steps of fitting stop to pay.
_MANY_POINTS = 4000
# How much the labels of points far from any border count beside the border points.
_FAR_WEIGHT = 0.05


@dataclass(frozen=True)
class Public:
    """What every client knows. components, size: of the models. unit_length: of all questions."""

    owners: tuple[str, ...]
    margin: float
    components: int
    unit_length: bool = False


@dataclass
class Evidence:
    """Questions and answers. An answer is the owner's place, or the number of owners for none.

    border: ends of lines (n, 2, D) and the answers to them (n, 2).
    """

    questions: list[npt.NDArray[np.float64]] = field(default_factory=list, repr=False)
    answers: list[npt.NDArray[np.int64]] = field(default_factory=list, repr=False)
    border: list[npt.NDArray[np.float64]] = field(default_factory=list, repr=False)
    sides: list[npt.NDArray[np.int64]] = field(default_factory=list, repr=False)


class Thief:
    """One client that copies a cohort."""

    def __init__(
        self, ask: Ask, public: Public, examples: npt.NDArray[np.float64], seed: int
    ) -> None:
        """`examples`: features (n, D) of the same kind as the owners', and none of theirs."""
        self._ask, self.public, self._examples = ask, public, examples
        self._random = np.random.default_rng(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self._spread = examples.std(axis=0)
        self._evidence = Evidence()
        # The largest question that is still answered, which a budget by the hour may bound.
        self._at_once = _LINES
        self.labels = 0
        self.stopped = False

    def gather(self, labels: int) -> None:
        """Ask until there are about so many labels, or the budget is spent."""
        while not self.stopped and self.labels < labels:
            self._look(max(1, min(_LINES, int(_SEARCHED * (labels - self.labels)))))
            lines = min(_LINES, (labels - self.labels) // BISECTIONS)
            if lines and not self.stopped:
                self._bisect(lines)

    def copy(self) -> "Copy":
        """The models that fit best what is known by now."""
        questions = np.concatenate([np.empty((0, len(self._spread))), *self._evidence.questions])
        answers = np.concatenate([np.empty(0, np.int64), *self._evidence.answers])
        border = self._evidence.border or [np.empty((0, 2, questions.shape[1]))]
        sides = self._evidence.sides or [np.empty((0, 2), np.int64)]
        copy = Copy.begun(self.public, questions, answers, self._examples)
        if not len(questions):
            return copy
        copy.fit(
            torch.from_numpy(questions).float(),
            torch.from_numpy(answers),
            torch.from_numpy(np.concatenate(border).mean(axis=1)).float(),
            torch.from_numpy(np.concatenate(sides)),
            self._generator,
        )
        return copy

    def _labelled(self, questions: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Answers int64 (n,); fewer if the budget is spent meanwhile. Asks for fewer at once if a
        budget is smaller than a question.
        """
        places = {name: place for place, name in enumerate(self.public.owners)}
        found: list[int] = []
        while len(found) < len(questions):
            part = questions[len(found) : len(found) + self._at_once]
            try:
                answers = self._ask(part)
            except LimitExceeded as error:
                if self._at_once == 1:
                    if not isinstance(error, BudgetSpent):
                        raise
                    self.stopped = True
                    break
                self._at_once //= 2
                continue
            self.labels += len(part)
            found += [len(places) if name is None else places[name] for name in answers]
        return np.array(found, np.int64)

    def _look(self, count: int) -> None:
        """Ask about mixtures of examples, and about them with noise."""
        some, others = (self._examples[self._random.integers(0, len(self._examples), count)]
                        for _ in range(2))  # fmt: skip
        weights = self._random.uniform(-1, 2, (count, 1))
        noise = self._random.normal(size=some.shape) * self._spread
        mixed = weights * some + (1 - weights) * others
        asked = self._question(mixed + noise * self._random.uniform(0, 2, (count, 1)))
        answers = self._labelled(asked)
        self._evidence.questions.append(asked[: len(answers)])
        self._evidence.answers.append(answers)

    def _bisect(self, lines: int) -> None:
        """Find a border point on each of so many lines."""
        questions = np.concatenate(self._evidence.questions)
        answers = np.concatenate(self._evidence.answers)
        first, second = self._random.integers(0, len(questions), (2, 8 * lines))
        differ = np.flatnonzero(answers[first] != answers[second])[:lines]
        if not len(differ):
            return
        ends = np.stack([questions[first[differ]], questions[second[differ]]], axis=1)
        sides = np.stack([answers[first[differ]], answers[second[differ]]], axis=1)
        rows = np.arange(len(ends))
        for _ in range(BISECTIONS):
            middle = self._question(ends.mean(axis=1))
            said = self._labelled(middle)
            if self.stopped:
                return
            replaced = np.where(said == sides[:, 0], 0, 1)
            ends[rows, replaced], sides[rows, replaced] = middle, said
        self._evidence.border.append(ends)
        self._evidence.sides.append(sides)

    def _question(self, features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if not self.public.unit_length:
            return features
        scaled: npt.NDArray[np.float64] = features / np.linalg.norm(features, axis=1)[:, None]
        return scaled


class Copy:
    """Models that answer like those of the owners, as far as the labels tell."""

    def __init__(self, public: Public, means: torch.Tensor, rows: torch.Tensor) -> None:
        """means: float32 (N, D). rows: float32 (N, k, D), whose spans are the subspaces."""
        self._public, self._means, self._rows = public, means, rows

    @staticmethod
    def begun(
        public: Public,
        questions: npt.NDArray[np.float64],
        answers: npt.NDArray[np.int64],
        examples: npt.NDArray[np.float64],
    ) -> "Copy":
        """Begin with mean and principal components of what each owner was named for."""
        means, rows = [], []
        for place in range(len(public.owners)):
            named = questions[answers == place]
            own = named if len(named) > public.components else np.concatenate([named, examples])
            mean = (named if len(named) else examples).mean(axis=0)
            means.append(mean)
            rows.append(np.linalg.svd(own - mean, full_matrices=False)[2][: public.components])
        start = (torch.from_numpy(np.stack(each)).float() for each in (means, rows))
        return Copy(public, *start)

    def answers(self, features: npt.NDArray[np.float64]) -> list[str | None]:
        """Answer features (n, D) by the rule of the cohort."""
        with torch.no_grad():
            distances = self._distances(torch.from_numpy(features).float(), self._bases())
            best, second = distances.topk(2, largest=False).values.unbind(1)
            named = distances.argmin(1).tolist()
        known = (best < self._public.margin * second).tolist()
        return [self._public.owners[name] if yes else None
                for name, yes in zip(named, known, strict=True)]  # fmt: skip

    def fit(
        self,
        questions: torch.Tensor,
        answers: torch.Tensor,
        border: torch.Tensor,
        sides: torch.Tensor,
        generator: torch.Generator,
    ) -> None:
        """Move the models until border points (n, D) lie on borders between their `sides` (n, 2),
        and questions (m, D) get their answers (m,).
        """
        self._means.requires_grad_()
        self._rows.requires_grad_()
        steps = _LEAST_STEPS + int(_STEPS_MORE * min(1.0, len(border) / _MANY_POINTS))
        optimiser = torch.optim.Adam([self._means, self._rows], lr=_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=1e-5)
        for _ in range(steps):
            some = torch.randint(len(questions), (_BATCH // 2,), generator=generator)
            loss = _FAR_WEIGHT * self._far_loss(questions[some], answers[some])
            if len(border):
                near = torch.randint(len(border), (_BATCH,), generator=generator)
                loss = loss + self._border_loss(border[near], sides[near])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()

    def _border_loss(self, points: torch.Tensor, sides: torch.Tensor) -> torch.Tensor:
        """The squared distance to the border, to first order (Sampson 1982): scaling all errors
        changes nothing, so no collapse is rewarded.
        """
        bases = self._bases()
        distances = self._distances(points, bases)
        count, owners = distances.shape
        unknown = (sides == owners).any(1)
        named = torch.where(sides[:, 0] != owners, sides[:, 0], sides[:, 1])
        # Between two owners the border is that of the least; else the margin's, to the runner-up.
        masked = distances.detach().scatter(1, named[:, None], math.inf)
        other = torch.where(unknown, masked.argmin(1), sides[:, 1])
        weight = torch.where(unknown, self._public.margin, 1.0)
        rows = torch.arange(count)
        gap = distances[rows, named] - weight * distances[rows, other]
        slopes = self._slopes(points, bases)
        slope = slopes[rows, named] - weight[:, None] * slopes[rows, other]
        return (gap.square() / slope.square().sum(1).clamp(min=1e-9)).mean()

    def _far_loss(self, questions: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        """Cross-entropy; an owner's score is how far it is from being too far for the margin."""
        distances = self._distances(questions, self._bases())
        owners = distances.size(1)
        least = torch.stack(
            [
                distances[:, [other for other in range(owners) if other != owner]].min(1).values
                for owner in range(owners)
            ],
            dim=1,
        )
        scores = self._public.margin * least - distances
        if self._public.margin < 1:
            scores = torch.cat([scores, -scores.max(1, keepdim=True).values], dim=1)
        return torch.nn.functional.cross_entropy(scores, answers)

    def _bases(self) -> torch.Tensor:
        """Orthonormal rows, float32 (N, k, D)."""
        bases: torch.Tensor = torch.linalg.qr(self._rows.transpose(1, 2))[0].transpose(1, 2)
        return bases

    def _distances(self, features: torch.Tensor, bases: torch.Tensor) -> torch.Tensor:
        centred = features[:, None] - self._means
        inside = torch.einsum("nod,okd->nok", centred, bases)
        return centred.square().sum(2) - inside.square().sum(2)

    def _slopes(self, features: torch.Tensor, bases: torch.Tensor) -> torch.Tensor:
        """The gradients of the distances, float32 (n, N, D)."""
        centred = features[:, None] - self._means
        inside = torch.einsum("nod,okd->nok", centred, bases)
        return 2 * (centred - torch.einsum("nok,okd->nod", inside, bases))
