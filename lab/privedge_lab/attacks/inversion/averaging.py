"""What a server gains when a device answers the same image with fresh random numbers each time.

Noise has mean 0, so the mean of q answers has 1/q of its variance. If masks drop a share r, q
answers together show all but r^q of the activations. That is why devices never draw afresh
(lab/privedge_lab/baseline/draws.py).
"""

import torch

from privedge_lab.attacks.views import Ask


def averaged(answers: torch.Tensor) -> torch.Tensor:
    """Average q answers to the same n images: float32 (q, n, ...) to (n, ...).

    The mean is over values other than 0, for a dropped activation says nothing. It is 0 where every
    answer has 0. The result can replace `sent` in any View: it has the scale and zeros of one
    answer.
    """
    arrived = (answers != 0).sum(0)
    return answers.sum(0) / arrived.clamp(min=1)


def asked_again(ask: Ask, images: torch.Tensor, times: int) -> torch.Tensor:
    """Ask a device `times` times about the same images; return its answers (times, n, ...)."""
    return torch.stack([ask(images) for _ in range(times)])
