"""What a server gains when a device answers the same image with fresh random numbers each time.

Noise has mean 0, so the mean of q answers has 1/q of its variance; of masks that drop a share r,
the answers together show all but r^q of the activations. That is why devices never draw afresh
(lab/privedge_lab/baseline/draws.py).
"""

import torch

from privedge_lab.attacks.views import Ask


def averaged(answers: torch.Tensor) -> torch.Tensor:
    """Answers (q, n, ...) to the same n images asked q times, as one: float32 (n, ...).

    The mean over what is not 0, for a dropped activation says nothing; 0 where nothing ever came.
    The result stands for `sent` in any View: scale and zeros are those of one answer.
    """
    arrived = (answers != 0).sum(0)
    return answers.sum(0) / arrived.clamp(min=1)


def asked_again(ask: Ask, images: torch.Tensor, times: int) -> torch.Tensor:
    """The answers (times, n, ...) of a device that is asked about the same images repeatedly."""
    return torch.stack([ask(images) for _ in range(times)])
