"""What is predicted or hidden, by name: a set's labels, a fact, or whether a fact is above a value.

`labels`, `gender`, `age:35` (1 where age > 35, else 0).
"""

import torch

from privedge.errors import ConfigError
from privedge_lab.datasets import Labelled

LABELS = "labels"


def target(data: Labelled, name: str) -> torch.Tensor:
    """int64 (n,), values from 0. Raises ConfigError for a fact there is not, or of one value."""
    fact, _, above = name.partition(":")
    values = data.labels if fact == LABELS else data.facts.get(fact)
    if values is None:
        there = ", ".join((LABELS, *data.facts))
        raise ConfigError(f"{fact}: the set has no such fact; it has {there}")
    if above:
        if not above.lstrip("-").isdecimal():
            raise ConfigError(f"{name}: after the colon a whole number is needed, as in age:35")
        values = (values > int(above)).long()
    if values.min() < 0 or len(values.unique()) < 2:
        raise ConfigError(f"{name}: needs at least two values, none of them negative")
    return values.long()


def with_task(data: Labelled, task: str, private: str) -> Labelled:
    """The same images labelled by `task`, and `private` among their facts under that name."""
    hidden = target(data, private)
    return Labelled(data.images, target(data, task), data.facts | {private: hidden})
