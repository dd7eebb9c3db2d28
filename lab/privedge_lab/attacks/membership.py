"""Label-only membership inference: was an owner's model trained on this image?

Choquette-Choo et al. ("Label-Only Membership Inference Attacks", ICML 2021): a model is surer about
the images it was trained on. Its answer to such an image survives more shifting and more noise.
Three attacks use this:

    gap       is the image itself answered with the owner's name? (Yeom et al. 2018; no copies)
    count     how many of the copies are answered with the owner's name?
    learned   logistic regression on which copies are, fitted on a cohort of the attacker's own

Thresholds are chosen on the attacker's own cohort too, never on the images under attack.
"""

import math
from dataclasses import dataclass

import torch
from sklearn.linear_model import LogisticRegression

from privedge.errors import TrainingError
from privedge_lab.attacks.scores import Mean
from privedge_lab.attacks.views import AnswersView

_SHIFTS = (
    *((0, 1), (0, -1), (1, 0), (-1, 0)),
    *((0, 2), (0, -2), (2, 0), (-2, 0)),
    *((1, 1), (-1, -1), (1, -1), (-1, 1)),
)
_NOISES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
COPIES = 1 + len(_SHIFTS) + len(_NOISES)
_NORMAL_95 = 1.96


@dataclass(frozen=True)
class MembershipScore:
    """How well one attack tells members from others; both figures have a 95% interval.

    `auc`: 0.5 is guessing. `advantage`: true minus false positive rate, at the threshold that was
    best on the attacker's own cohort; 0 is guessing.
    """

    attack: str
    auc: Mean
    advantage: Mean


def copies(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return copies (n, COPIES, C, H, W) of pixels float32 (n, C, H, W) in [0, 1].

    The first copy is the image itself; then come shifted ones, whose edges repeat, and noisy ones.
    """
    made = [pixels]
    padded = torch.nn.functional.pad(pixels, (2, 2, 2, 2), mode="replicate")
    height, width = pixels.shape[2:]
    for down, right in _SHIFTS:
        made.append(padded[:, :, 2 + down : 2 + down + height, 2 + right : 2 + right + width])
    for sigma in _NOISES:
        noise = torch.randn(pixels.shape, generator=generator)
        made.append((pixels + sigma * noise).clamp(0, 1))
    return torch.stack(made, dim=1)


def infer_membership(view: AnswersView, members: torch.Tensor) -> list[MembershipScore]:
    """Score each attack on `view` against the truth, `members` bool (n,).

    Raises TrainingError unless both the known and the attacked images include members and others.
    """
    for some in (members, view.known_members):
        if len(some.unique()) < 2:
            raise TrainingError("membership: both sets need members and non-members")
    found = {
        "gap": (view.known_right[:, 0].double(), view.right[:, 0].double()),
        "count": (view.known_right.double().mean(1), view.right.double().mean(1)),
        "learned": _learned(view),
    }
    return [
        MembershipScore(
            name,
            _auc(scores, members),
            _advantage(scores, members, _threshold(known, view.known_members)),
        )
        for name, (known, scores) in found.items()
    ]


def _learned(view: AnswersView) -> tuple[torch.Tensor, torch.Tensor]:
    model = LogisticRegression(max_iter=1000)
    model.fit(view.known_right.double().numpy(), view.known_members.numpy())
    known, scores = (
        torch.from_numpy(model.decision_function(right.double().numpy()))
        for right in (view.known_right, view.right)
    )
    return known, scores


def _threshold(scores: torch.Tensor, members: torch.Tensor) -> float:
    """Return the least score at which an image is called a member."""
    each = [float(value) for value in scores.unique()]
    return max(each, key=lambda limit: _rates(scores, members, limit)[2])


def _rates(scores: torch.Tensor, members: torch.Tensor, limit: float) -> tuple[float, float, float]:
    called = scores >= limit
    true = float(called[members].double().mean())
    false = float(called[~members].double().mean())
    return true, false, true - false


def _advantage(scores: torch.Tensor, members: torch.Tensor, limit: float) -> Mean:
    true, false, gained = _rates(scores, members, limit)
    inside, outside = int(members.sum()), int((~members).sum())
    spread = math.sqrt(true * (1 - true) / inside + false * (1 - false) / outside)
    return Mean(gained, _NORMAL_95 * spread, len(members))


def _auc(scores: torch.Tensor, members: torch.Tensor) -> Mean:
    """Return the chance that a member scores above another image; ties count half.

    The interval is Hanley and McNeil's (1982).
    """
    gaps = scores[members][:, None] - scores[~members][None, :]
    area = float((gaps > 0).double().mean() + (gaps == 0).double().mean() / 2)
    inside, outside = gaps.shape
    two_in, two_out = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (inside - 1) * (two_in - area**2)
    variance += (outside - 1) * (two_out - area**2)
    spread = math.sqrt(max(variance, 0.0) / (inside * outside))
    return Mean(area, _NORMAL_95 * spread, len(members))
