"""Tasks and private facts by name, and one row that says what an attribute attack reached."""

import pytest
import torch

from privedge.errors import ConfigError
from privedge_lab.attacks.attributes import AttackerSettings
from privedge_lab.datasets import Labelled, split
from privedge_lab.evaluation.attributes import AttributeSettings, measure
from privedge_lab.evaluation.facts import target, with_task
from privedge_lab.results.store import Results

QUICK = AttackerSettings(seeds=(0,), epochs=8, patience=3)


def made(count: int = 160) -> Labelled:
    """The left half is as bright as the age says, the right half is by gender."""
    generator = torch.Generator().manual_seed(0)
    age = torch.randint(20, 60, (count,), generator=generator)
    gender = torch.randint(2, (count,), generator=generator)
    images = 0.1 * torch.rand((count, 1, 28, 28), generator=generator)
    images[..., :14] += (age.float() / 100).view(-1, 1, 1, 1)
    images[..., 14:] += 0.5 * gender.float().view(-1, 1, 1, 1)
    return Labelled(images, gender, {"age": age, "gender": gender})


def test_a_threshold_makes_two_classes_of_a_fact():
    data = made()
    assert torch.equal(target(data, "age:35"), (data.facts["age"] > 35).long())
    assert torch.equal(target(data, "labels"), data.labels)
    tasked = with_task(data, "age:35", "gender")
    assert tasked.classes == 2
    assert torch.equal(tasked.facts["gender"], data.facts["gender"])


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("height", "no such fact; it has labels, age, gender"),
        ("age:old", "whole number"),
        ("age:99", "two values"),
    ],
)
def test_a_name_that_is_no_target_is_refused(name, problem):
    with pytest.raises(ConfigError, match=problem):
        target(made(), name)


def test_what_goes_with_the_task_is_given_away_by_the_logits_too(tmp_path):
    parts = split(with_task(made(), "gender", "gender"), seed=0)
    settings = AttributeSettings("gender", "lenet", "conv1", epochs=3)
    results = Results("attributes", {}, tmp_path / "rows.json")
    (row,) = measure(settings, parts, results, lambda *_: None, QUICK)
    assert row.accuracy > 0.9
    assert row.above_majority == pytest.approx(row.accuracy - row.majority)
    assert row.task_accuracy > 0.9
    assert row.floor_accuracy > 0.9
    assert (row.cut, row.seed, row.images) == ("conv1", 0, len(parts.test))
    # Once measured, a row is not measured again.
    (again,) = measure(settings, parts, results, lambda *_: pytest.fail("worked"), QUICK)
    assert again == row
    assert len(Results("attributes", {}, tmp_path / "rows.json", resume=True).rows) == 1
