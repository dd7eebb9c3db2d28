"""Label-only membership inference finds a model that remembers, and nothing where nothing is."""

import pytest
import torch
from sklearn.metrics import roc_auc_score

from privedge.errors import TrainingError
from privedge_lab.attacks.membership import COPIES, copies, infer_membership
from privedge_lab.attacks.views import AnswersView


def answers(count: int, members: float, others: float, seed: int) -> tuple[torch.Tensor, ...]:
    """Copies answered right with these probabilities; the first half are members."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(count) < count // 2
    chance = torch.where(truth, members, others)[:, None]
    return torch.rand((count, COPIES), generator=generator) < chance, truth


def scored(members: float, others: float):
    known, known_truth = answers(400, members, others, 1)
    right, truth = answers(400, members, others, 2)
    found = infer_membership(AnswersView(right, known, known_truth), truth)
    return {score.attack: score for score in found}, right, truth


def test_a_model_surer_of_its_own_images_is_found_out():
    found, right, truth = scored(0.95, 0.7)
    assert found["count"].auc.value > 0.9
    assert found["learned"].auc.value > 0.9
    assert found["count"].advantage.value > 0.7
    # More copies tell more than the image alone.
    assert found["gap"].auc.value < found["count"].auc.value
    expected = roc_auc_score(truth, right.double().mean(1))
    assert found["count"].auc.value == pytest.approx(expected)


def test_a_model_equally_sure_of_all_is_not():
    found, *_ = scored(0.8, 0.8)
    for score in found.values():
        # Five standard errors, of which the interval is 1.96.
        assert abs(score.auc.value - 0.5) <= score.auc.plus_minus * 5 / 1.96
        assert abs(score.advantage.value) <= score.advantage.plus_minus * 5 / 1.96


def test_the_threshold_comes_from_the_attackers_own_cohort():
    # There the members are those that are answered wrong, so what it learns misleads it here.
    known, known_truth = answers(400, 0.2, 0.9, 1)
    right, truth = answers(400, 0.9, 0.2, 2)
    found = infer_membership(AnswersView(right, known, known_truth), truth)
    learned = next(score for score in found if score.attack == "learned")
    assert learned.auc.value < 0.1
    assert learned.advantage.value < -0.5


def test_copies_are_the_image_shifted_and_noisy():
    pixels = torch.rand((2, 1, 6, 6), generator=torch.Generator().manual_seed(0))
    made = copies(pixels, torch.Generator().manual_seed(0))
    assert made.shape == (2, COPIES, 1, 6, 6)
    assert torch.equal(made[:, 0], pixels)
    assert torch.equal(made[:, 1, :, :, :-1], pixels[..., 1:])
    assert made.min() >= 0 and made.max() <= 1
    noise = [(made[:, place] - pixels).square().mean() for place in range(COPIES - 6, COPIES)]
    assert noise == sorted(noise)


def test_members_alone_are_refused():
    right, truth = answers(20, 0.5, 0.5, 0)
    with pytest.raises(TrainingError, match="members and non-members"):
        infer_membership(AnswersView(right, right, truth), torch.ones_like(truth))
