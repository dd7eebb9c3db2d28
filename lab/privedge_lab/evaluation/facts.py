"""What is predicted or hidden, by name: a set's labels, a fact, or a question about one of these.

`labels`, `gender`; `age:35` or `age>35` (1 where age > 35, else 0); `labels=0,1,8` (1 where the
label is one of these, else 0).
"""

import re

import torch

from privedge.errors import ConfigError
from privedge_lab.datasets import Labelled

LABELS = "labels"
_NAME = re.compile(r"([^:>=]*)(?:([:>=])(.*))?", re.DOTALL)
_WHOLE = re.compile(r"-?\d+")


def target(data: Labelled, name: str) -> torch.Tensor:
    """int64 (n,), values from 0. Raises ConfigError for a fact there is not, or of one value."""
    found = _NAME.fullmatch(name)
    fact, mark, asked = (text or "" for text in found.groups()) if found else (name, "", "")
    values = data.labels if fact == LABELS else data.facts.get(fact)
    if values is None:
        there = ", ".join((LABELS, *data.facts))
        raise ConfigError(f"{fact}: the set has no such fact; it has {there}")
    if mark:
        values = _answered(values, name, mark, asked)
    if values.min() < 0 or len(values.unique()) < 2:
        raise ConfigError(f"{name}: needs at least two values, none of them negative")
    return values.long()


def _answered(values: torch.Tensor, name: str, mark: str, asked: str) -> torch.Tensor:
    numbers = [text.strip() for text in asked.split(",")] if mark == "=" else [asked]
    if not all(_WHOLE.fullmatch(text) for text in numbers):
        raise ConfigError(f"{name}: write whole numbers, as in age:35 or labels=0,1,8")
    if mark == "=":
        return torch.isin(values, torch.tensor([int(text) for text in numbers]))
    return values > int(asked)


def with_task(data: Labelled, task: str, private: str) -> Labelled:
    """The same images labelled by `task`, and `private` among their facts under that name."""
    hidden = target(data, private)
    return Labelled(data.images, target(data, task), data.facts | {private: hidden})
