"""Who trains on what, and what is asked: a labelled set dealt out among owners.

Sees plaintext images of all owners, as only an experiment can. An owner is one class. The test part
is never looked at to choose anything: for that, `Part.VALIDATION` scores on a share of what owners
would otherwise train on.
"""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import torch

from privedge.arrays import Inputs, Labels, Pixels, is_pixels
from privedge.errors import ConfigError, ImageError
from privedge.identity.names import owner_names
from privedge_lab.datasets import Labelled, split
from privedge_lab.evaluation import pixels

# By name, int64 (n,) each.
Facts = dict[str, Labels]

_OFFICIAL = "is_test"


class Part(StrEnum):
    """What the models are scored on."""

    TEST = "test"
    VALIDATION = "validation"


@dataclass(frozen=True)
class Choice:
    """How a set is dealt out.

    owners   so many classes, drawn by the seed; None takes all, which must be two or more
    group    a fact (such as `document`) of which no value is in two parts
    where    (fact, value): exactly those images are the test part
    photos   so many images of each class, drawn by the seed, are learnt, and all others asked; on
             the validation part, of what owners would otherwise train on
    """

    seed: int
    owners: int | None = None
    part: Part = Part.TEST
    group: str | None = None
    where: tuple[str, int] | None = None
    photos: int | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        if self.photos is not None and (self.group, self.where) != (None, None):
            raise ConfigError("photos: draws images itself; leave out --group and --test-where")


@dataclass(frozen=True)
class Parts:
    """`train[i]` are owner i's images; `images`, `labels` (the number of the owner) and `pages`
    (the value of the group, or 0) are what is asked. uint8 (n, H, W) or (n, H, W, 3); int64 (n,).
    In place of images there may be vectors, float64 (n, D).

    `train_facts[i]` and `facts` are the set's facts of the images of owner i and of those asked.
    """

    owners: tuple[str, ...]
    train: tuple[Inputs, ...] = field(repr=False)
    images: Inputs = field(repr=False)
    labels: Labels = field(repr=False)
    pages: Labels = field(repr=False)
    train_facts: tuple[Facts, ...] = field(repr=False)
    facts: Facts = field(repr=False)


def deal(data: Labelled, choice: Choice) -> Parts:
    """Raises ConfigError for a choice that the set does not allow, ImageError for its group."""
    classes = _classes(data, choice)
    mine = data.take(torch.isin(data.labels, torch.from_numpy(classes)))
    learnt, asked = _halves(mine, choice, official=True)
    if choice.photos is not None:
        learnt, asked = _few(mine if choice.part is Part.TEST else learnt, choice)
    elif choice.part is Part.VALIDATION:
        learnt, asked = _halves(learnt, replace(choice, where=None), official=False)
    labels = learnt.labels.numpy()
    given = inputs_of(learnt)
    called = owners_of(data)
    pages = asked.facts[choice.group].numpy() if choice.group else np.zeros(len(asked), np.int64)
    return Parts(
        tuple(called[label] for label in classes),
        tuple(given[labels == label] for label in classes),
        inputs_of(asked),
        np.searchsorted(classes, asked.labels.numpy()),
        pages,
        tuple(_facts(learnt, labels == label) for label in classes),
        _facts(asked, np.ones(len(asked), bool)),
    )


def owners_of(data: Labelled) -> list[str]:
    """What the owner of each label is called: as `privedge train-all` calls it by the set's own
    name, or class-N for all if there are no names or two are the same.
    """
    with suppress(ConfigError):
        names = list(owner_names(data.names).values())
        if names and len({name.casefold() for name in names}) == len(data.names):
            return names
    return [f"class-{label}" for label in range(data.classes)]


def inputs_of(data: Labelled) -> Inputs:
    return data.images.numpy() if data.of_vectors else as_bytes(data)


def pictures(inputs: Inputs) -> Pixels:
    """The same, if these are pictures. Raises ImageError for vectors."""
    if not is_pixels(inputs):
        raise ImageError("vectors: pictures are needed here")
    return inputs


def as_bytes(data: Labelled) -> Pixels:
    """The images as files hold them: uint8 (n, H, W) or (n, H, W, 3)."""
    return np.ascontiguousarray(pixels.as_bytes(data.images))


def _facts(data: Labelled, which: npt.NDArray[np.bool_]) -> Facts:
    return {name: values.numpy()[which] for name, values in data.facts.items()}


def _classes(data: Labelled, choice: Choice) -> Labels:
    classes = np.unique(data.labels.numpy())
    wanted = choice.owners or len(classes)
    # Asked for by name, one owner makes sense: there are public rivals.
    least = 1 if choice.owners == 1 else 2
    if len(classes) < least:
        raise ConfigError(
            "owners: the set has 1 class, and one owner is told from nobody; give a set of two or "
            "more, or --owners 1 with --rivals and --strangers"
        )
    if not least <= wanted <= len(classes):
        raise ConfigError(f"owners: the set has {len(classes)} classes; give 2 to {len(classes)}")
    drawn = np.random.default_rng(choice.seed).permutation(classes)[:wanted]
    return np.sort(drawn)


def _halves(data: Labelled, choice: Choice, *, official: bool) -> tuple[Labelled, Labelled]:
    """What is learnt from and what is asked."""
    if choice.where is not None:
        return _where(data, *choice.where)
    if not official:
        facts = {name: values for name, values in data.facts.items() if name != _OFFICIAL}
        data = replace(data, facts=facts)
    parts = split(data, seed=choice.seed, group=choice.group)
    without = np.setdiff1d(data.labels.numpy(), parts.train.labels.numpy())
    if len(without):
        what = "vector" if data.of_vectors else "image"
        raise ConfigError(
            f"{_called(data, without[0])}: has 1 {what}, and one to learn from and one to ask are "
            "needed; give more, or leave this class out"
        )
    return parts.train, parts.test


def _called(data: Labelled, label: int) -> str:
    """The class of this label, by its name if it has one."""
    return data.names[label] if data.names else f"class {label}"


def _few(data: Labelled, choice: Choice) -> tuple[Labelled, Labelled]:
    """`photos` images of each class, and all others."""
    count, labels = choice.photos or 0, data.labels.numpy()
    order = np.random.default_rng(choice.seed).permutation(len(labels))
    learnt = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        if not 0 < count < len(mine):
            raise ConfigError(
                f"photos: class {label} has {len(mine)} images; give 1 to {len(mine) - 1}"
            )
        learnt[mine[:count]] = True
    chosen = torch.from_numpy(learnt[order])
    shuffled = data.take(torch.from_numpy(order))
    return shuffled.take(chosen), shuffled.take(~chosen)


def _where(data: Labelled, fact: str, value: int) -> tuple[Labelled, Labelled]:
    if fact not in data.facts:
        raise ConfigError(f"{fact}: the set has no such fact; it has {', '.join(data.facts)}")
    asked = data.facts[fact] == value
    for label in data.labels.unique():
        of_owner = asked[data.labels == label]
        if of_owner.all() or not of_owner.any():
            raise ConfigError(f"{fact}={value}: is all or nothing of class {int(label)}")
    return data.take(~asked), data.take(asked)
