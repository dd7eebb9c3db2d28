"""What one hostile owner does to the answers of a cohort, with the check of new models and without.

    1.  owners, and public people in place of owners, each with an honest model
    2.  a pool of public probes, and what errors on them may be, as `privedge probes make` chooses
        it from the people's; the probes of each check are drawn as the parties draw them
    3.  every hostile model: how often does the check take it, and what are others answered then?

Classes are owners, people or strangers, and no two of these. A hostile owner has the others'
training images, and the whole pool.

none         nobody joins
honest       another owner like the rest
identity     reconstructs everything: of another architecture, which the parties refuse at upload
wide         twice the components: likewise
pooled       trained on the training images of all owners
public       trained on the probes
far          no components, and a mean far from everything (W-39)
zero         no components, and no mean
stretched    rows eight times too long
wrapping     random words in place of every parameter (W-36)
tuned        `pooled`, with as many components left out as it takes to pass on the whole pool
avoiding     `pooled`, without as many of the directions in which probes differ most, likewise
contrasting  the directions in which owners' images differ, and probes do not, weighed likewise

Answers are computed on the same integers as the parties compute with, in the clear.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from parties.mpc.predict import Rule, predict
from parties.worker.model_check import refused
from privedge.arrays import Features, Inputs, joined
from privedge.errors import ConfigError
from privedge.progress import Progress
from privedge.ran.probes import Probes
from privedge.ran.spec import RanSpec
from privedge.sharing.fixed_point import encode
from privedge.sharing.known import Reals
from privedge.user.asking import errors_of
from privedge.user.checkpoint import Ran
from privedge.user.fitting import fit_ran
from privedge.user.model_check import NOBODY, Choice, Whose, rule_of
from privedge.user.settings import TrainSettings
from privedge_lab.evaluation import hostile_models, thieves
from privedge_lab.evaluation.cohort import features_of
from privedge_lab.evaluation.hostile_models import Means, Words, encoded
from privedge_lab.reference.clear import ClearEngine

NONE, HONEST = "none", "honest"
# Checks of each model, with a fresh coin each.
_CHECKS = 10
# Images that a pool has of each class, and of each public set.
_OF_A_CLASS, _GIVEN = 60, 1000


@dataclass(frozen=True)
class Set:
    """Images uint8 (n, H, W[, 3]) or vectors of each class: to train on, and to ask about."""

    train: Sequence[Inputs] = field(repr=False)
    test: Sequence[Inputs] = field(repr=False)


@dataclass(frozen=True)
class Settings:
    """owners: in the cohort, beside the hostile one. Of the other classes two thirds are public
    people, and one third strangers.

    check: whether the parties check new models, as `choice` says. of_given: whether the pool is
    what is given alone, and not the people's images. known: whether the hostile owner
    knows the pool; else it knows half of it.
    """

    spec: RanSpec
    train: TrainSettings
    owners: int
    margin: float
    seed: int
    choice: Choice
    check: bool = True
    of_given: bool = False
    known: bool = True


@dataclass(frozen=True)
class Row:
    """What one hostile model does: shares of strangers named, and of owners' images named right.

    admitted: whether any of the checks took it. taken: the share of checks that did.
    integrity_errors: the share of rows that are neither one name nor none. error_ratio, won: its
    errors on the pool over the usual ones, and the share of it that it wins; None where they say
    nothing.
    """

    model: str
    admitted: bool
    taken: float
    strangers_named: float
    honest_recall: float
    integrity_errors: float
    error_ratio: float | None
    won: float | None


@dataclass(frozen=True)
class Roles:
    """Which classes are what."""

    owners: Sequence[int]
    hostile: int
    people: Sequence[int]
    strangers: Sequence[int]

    @staticmethod
    def drawn(classes: int, owners: int, seed: int) -> "Roles":
        """Draw them. Raises ConfigError for too few."""
        order = [int(at) for at in np.random.default_rng(seed).permutation(classes)]
        rest = order[owners + 1 :]
        people, strangers = rest[: -(len(rest) // 3)], rest[-(len(rest) // 3) :]
        if len(rest) < 5:
            raise ConfigError(f"owners: {classes} classes leave no people; give fewer owners")
        return Roles(order[:owners], order[owners], people, strangers)


@dataclass(frozen=True)
class Pool:
    """What probes can be: images of every class, and of nobody; and each class's errors on them.

    whose: the class of each row, or NOBODY. errors: float64 (classes, rows).
    """

    rows: Features = field(repr=False)
    whose: Whose = field(repr=False)
    errors: Reals = field(repr=False)

    def probes(self, people: Sequence[int] | np.ndarray, settings: Settings) -> Probes:
        """What `privedge probes make` makes of these people and of what is of nobody."""
        rows, whose, errors = self._of(people)
        return Probes.of(rows, rule_of(errors, whose, settings.choice)[0], settings.spec)

    def tried(self, at: int, people: Sequence[int] | np.ndarray) -> Reals:
        """The errors of a class's model on these probes."""
        found: Reals = self.errors[at][self._kept(people)]
        return found

    def _kept(self, people: Sequence[int] | np.ndarray) -> np.ndarray:
        return np.isin(self.whose, [NOBODY, *people])

    def _of(self, people: Sequence[int] | np.ndarray) -> tuple[Features, Whose, Reals]:
        kept = self._kept(people)
        numbers = {int(at): number for number, at in enumerate(people)}
        whose = np.array([numbers.get(int(at), NOBODY) for at in self.whose[kept]])
        return self.rows[kept], whose, self.errors[np.array(people)][:, kept]


@dataclass(frozen=True)
class _Scene:
    settings: Settings
    honest: Sequence[Ran]
    means: Means
    probes: Probes
    own: Features = field(repr=False)
    truth: np.ndarray = field(repr=False)
    strangers: Features = field(repr=False)


def trained(data: Set, settings: Settings, progress: Progress) -> Iterator[Ran]:
    """Train an honest model of every class."""
    for number, images in enumerate(data.train):
        progress("train", number, len(data.train))
        yield fit_ran(images, settings.spec, settings.train, f"owner-{number}")
    progress("train", len(data.train), len(data.train))


def pool_of(data: Set, rans: Sequence[Ran], settings: Settings, given: Sequence[Inputs]) -> Pool:
    """Some images of each class, and what is given, at most so many of each; with the errors."""
    classes = [
        thieves.some(joined(each), settings.seed, _OF_A_CLASS)
        for each in zip(data.train, data.test, strict=True)
        if not settings.of_given
    ]
    public = [thieves.some(each, settings.seed, _GIVEN) for each in given]
    files = settings.train.files
    parts = [features_of(settings.spec, each, files) for each in (*classes, *public)]
    numbers = [*range(len(classes)), *(NOBODY for _ in public)]
    rows = np.concatenate(parts)
    whose = np.repeat(numbers, [len(part) for part in parts])
    return Pool(rows, whose, np.array([errors_of(ran, rows) for ran in rans]))


def refused_honest(pool: Pool, settings: Settings, tries: int) -> tuple[int, int]:
    """A fifth of the classes, drawn `tries` times, join, and the others are people: how many of
    those are refused, by checks with a coin each, and how many there are.
    """
    rng, out, count = np.random.default_rng(settings.seed), 0, 0
    for _ in range(tries):
        order = rng.permutation(len(pool.errors))
        joining, people = np.split(order, [max(1, len(order) // 5)])
        probes = pool.probes(people, settings)
        for at in joining:
            drawn = probes.picked(rng.bytes(32))
            out += not probes.rule.of(drawn).kept_by(pool.tried(at, people)[drawn])
            count += 1
    return out, count


def rows(
    data: Set, settings: Settings, rans: Sequence[Ran], pool: Pool, progress: Progress
) -> Iterator[Row]:
    """A row for the honest cohort, and one for each attack."""
    scene = _scene(data, settings, rans, pool)
    attacks = hostile_models.ATTACKS if settings.spec.components else hostile_models.IN_LAYERS
    names = (NONE, HONEST, *attacks)
    for number, name in enumerate(names):
        progress("attack", number, len(names))
        yield _row(scene, name)
    progress("attack", len(names), len(names))


def _scene(data: Set, settings: Settings, rans: Sequence[Ran], pool: Pool) -> _Scene:
    spec, roles = settings.spec, Roles.drawn(len(rans), settings.owners, settings.seed)
    files = settings.train.files
    probes = pool.probes(roles.people, settings)
    stolen = joined([data.train[at] for at in roles.owners])
    known = probes if settings.known else pool.probes(roles.people[::2], settings)
    tests = [features_of(spec, data.test[at], files) for at in roles.owners]
    return _Scene(
        settings,
        [rans[at] for at in roles.owners],
        Means(rans[roles.hostile], stolen, known, settings.train, settings.seed),
        probes,
        np.concatenate(tests),
        np.repeat(np.arange(len(tests)), [len(each) for each in tests]),
        np.concatenate(
            [
                features_of(spec, part[at], files)
                for at in roles.strangers
                for part in (data.train, data.test)
            ]
        ),
    )


def _row(scene: _Scene, name: str) -> Row:
    words, ratio, won = _hostile(scene, name)
    cohort = [encoded(ran) for ran in scene.honest]
    taken = 0.0 if words is None else _taken(scene, words)
    if words is not None and taken:
        cohort.append(words)
    stacked = {key: torch.cat([each[key] for each in cohort]) for key in cohort[0]}
    own, far = (_answers(scene.settings, stacked, asked) for asked in (scene.own, scene.strangers))
    rows = np.concatenate([own, far])
    # Random words can make any row: sums of large entries may wrap, so ones are counted.
    whole = np.isin(rows, (0, 1)).all(1) & ((rows == 1).sum(1) <= 1)
    named = own[np.arange(len(own)), scene.truth] == 1
    return Row(
        name,
        taken > 0,
        taken,
        float((far != 0).any(1).mean()),
        float((named & whole[: len(own)]).mean()),
        float(1 - whole.mean()),
        ratio,
        won,
    )


def _hostile(scene: _Scene, name: str) -> tuple[Words | None, float | None, float | None]:
    """A model as it is shared, None where there is none; its error ratio and share won."""
    if name in (NONE, *hostile_models.OTHERS):
        return None, None, None
    if name == "wrapping":
        return hostile_models.wrapping(scene.means), None, None
    means = scene.means
    ran = means.honest if name == HONEST else hostile_models.model(name, means)
    if name == "stretched":
        return encoded(ran), None, None
    errors = errors_of(ran, scene.probes.rows)
    return encoded(ran), *hostile_models.ratio_and_won(errors, scene.probes)


def _taken(scene: _Scene, words: Words) -> float:
    """The share of checks that take it, by what the parties compute."""
    if not scene.settings.check:
        return 1.0
    rng, spec = np.random.default_rng(scene.settings.seed), scene.settings.spec
    taken = 0
    for _ in range(_CHECKS):
        drawn = scene.probes.drawn(rng.bytes(32))
        x = torch.from_numpy(encode(drawn.rows).view(np.int64))
        taken += not int(refused(ClearEngine(), spec, words, x, drawn.bounds))
    return taken / _CHECKS


def _answers(settings: Settings, stacked: Words, asked: Features) -> np.ndarray:
    x = torch.from_numpy(encode(asked).view(np.int64))
    parts = [
        predict(ClearEngine(), settings.spec, stacked, part, Rule(settings.margin))
        for part in x.split(256)
    ]
    return torch.cat(parts).numpy()
