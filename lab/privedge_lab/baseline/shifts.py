"""Add shifted copies of training images, to give a network more to learn from.

If images will be disguised, add the copies first: a shifted disguised image is not the disguise of
any image.
"""

import torch
from torch.nn import functional

from privedge_lab.datasets import Labelled

COPY = "copy"
_SHARE = 14  # 2 pixels of MNIST's 28


def with_shifts(data: Labelled, copies: int, generator: torch.Generator) -> Labelled:
    """Return `data` and `copies` of each image, shifted at random in both directions.

    A shift is at most a fourteenth of the smaller side, or 1 pixel if that is more. Pixels that
    move in are black. The fact `copy` is 0 for originals and numbers the copies from 1.
    """
    sets = [data.images, *(_shifted(data.images, generator) for _ in range(copies))]
    times = copies + 1
    facts = {name: fact.repeat(times) for name, fact in data.facts.items()}
    facts[COPY] = torch.arange(times).repeat_interleave(len(data))
    return Labelled(torch.cat(sets), data.labels.repeat(times), facts)


def _shifted(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    count, _, height, width = images.shape
    most = max(1, min(height, width) // _SHARE)
    down, right = torch.randint(2 * most + 1, (2, count, 1, 1), generator=generator)
    rows = down + torch.arange(height)[:, None]
    columns = right + torch.arange(width)
    padded = functional.pad(images, (most,) * 4)
    moved = padded.permute(0, 2, 3, 1)[torch.arange(count)[:, None, None], rows, columns]
    return moved.permute(0, 3, 1, 2).contiguous()
