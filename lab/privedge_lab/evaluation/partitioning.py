"""Privacy Partitioning (Chi et al. 2018) on a task and a private attribute, with fresh attackers.

For each seed: a split of its own, a network without defence and one for each strength, each
attacked by attackers that training never met (attacks.attributes), once through what crosses the
cut and once through the logits: what the answer itself gives away is the floor that no defence of
the cut goes below without spoiling the answer.

Strengths are chosen on the `validation` part: it is cut out of the training images, and the test
images are then not looked at. The `test` part is for the strength that was chosen.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Literal

import torch

from privedge.errors import ConfigError
from privedge.progress import Progress
from privedge_lab import datasets
from privedge_lab.attacks import scores
from privedge_lab.attacks.attributes import AttackerSettings, infer_attribute
from privedge_lab.attacks.views import AttributeView
from privedge_lab.baseline.defence import Device
from privedge_lab.baseline.defences import registry
from privedge_lab.baseline.network import head, tail
from privedge_lab.baseline.presets import preset
from privedge_lab.baseline.train import Trainee, TrainSettings, accuracy, train
from privedge_lab.datasets import Labelled, TrainTest
from privedge_lab.results.rows.partitioning import PartitioningRow
from privedge_lab.results.rows.values import Figure, Raw
from privedge_lab.results.store import Results

EXPERIMENT = "partitioning"
_DOING = "train and attack"
Part = Literal["validation", "test"]


@dataclass(frozen=True)
class Task:
    """Label 1 for images whose `fact` is above `above`, 0 for the others; `private` is to hide."""

    fact: str
    above: int
    private: str


@dataclass(frozen=True)
class Plan:
    """What to measure. `strengths` are measured beside 0, which is no defence."""

    task: Task
    defence: str = "balanced-partitioning"
    network: str = "face-guess"
    cut: str = "guess"
    strengths: tuple[float, ...] = (0.65,)
    seeds: tuple[int, ...] = (0, 1, 2)
    part: Part = "test"
    training: TrainSettings = field(
        default_factory=lambda: TrainSettings(epochs=25, mirror=True, shift=4)
    )
    attackers: AttackerSettings = field(default_factory=AttackerSettings)

    def settings(self) -> Raw:
        """What all rows have in common, for the results' file."""
        return {
            "task": f"{self.task.fact} > {self.task.above}",
            "private": self.task.private,
            "defence": self.defence,
            "network": self.network,
            "cut": self.cut,
            "part": self.part,
            "epochs": self.training.epochs,
            "mirror": self.training.mirror,
            "shift": self.training.shift,
        }


def measure(
    plan: Plan,
    data: Labelled,
    results: Results,
    *,
    progress: Progress | None = None,
) -> Iterator[PartitioningRow]:
    """A row for each seed and strength; those that `results` has are not measured again.

    Raises ConfigError for facts or a cut that are not there.
    """
    labelled = with_task(data, plan.task)
    choices = [(seed, strength) for seed in plan.seeds for strength in (0.0, *plan.strengths)]
    for done, (seed, strength) in enumerate(choices):
        if progress is not None:
            progress(_DOING, done, len(choices))
        named = {"defence": plan.defence if strength else "none", "strength": strength}
        row = results.row(PartitioningRow, named | {"seed": seed})
        if row is None:
            row = _row(plan, _parts(labelled, plan, seed), strength, seed)
            results.add(row.to_json())
        yield row
    if progress is not None:
        progress(_DOING, len(choices), len(choices))


@dataclass(frozen=True)
class Mean:
    """Means over the seeds of one strength: shares, and differences in points (100 x share)."""

    strength: float
    seeds: int
    task_accuracy: float
    task_loss_points: float
    above_majority_points: float
    above_majority_plus_minus: float
    floor_above_majority_points: float


def summary(rows: Sequence[PartitioningRow]) -> list[Mean]:
    """One for each strength. A row without one of its figures does not count in that mean."""
    undefended = (row.task_accuracy for row in rows if row.strength == 0)
    plain = fmean(share for share in undefended if share is not None)
    found = []
    for strength in sorted({row.strength for row in rows if row.strength is not None}):
        mine = [row for row in rows if row.strength == strength]
        task = _mean([row.task_accuracy for row in mine])
        above = _mean([_difference(row.attacker_accuracy, row.majority) for row in mine])
        floor = _mean([_difference(row.floor_accuracy, row.majority) for row in mine])
        found.append(
            Mean(
                strength,
                len(mine),
                task.value,
                100 * (plain - task.value),
                100 * above.value,
                100 * above.plus_minus,
                100 * floor.value,
            )
        )
    return found


def _mean(values: Sequence[Figure]) -> scores.Mean:
    return scores.mean(torch.tensor([value for value in values if value is not None]))


def _difference(one: Figure, other: Figure) -> Figure:
    return None if one is None or other is None else one - other


def with_task(data: Labelled, task: Task) -> Labelled:
    """`data` labelled by the task. Raises ConfigError for facts that are not there."""
    for name in (task.fact, task.private):
        if name not in data.facts:
            raise ConfigError(
                f"{name}: the images have no such fact; they have {', '.join(data.facts) or 'none'}"
            )
    labels = (data.facts[task.fact] > task.above).long()
    if len(labels.unique()) < 2:
        raise ConfigError(f"{task.fact} > {task.above}: is the same of all images")
    return replace(data, labels=labels)


def _parts(data: Labelled, plan: Plan, seed: int) -> TrainTest:
    """Both parts have the same shares of each label with each private value."""
    found = _stratified(data, plan.task.private, seed)
    if plan.part == "validation":
        found = _stratified(found.train, plan.task.private, seed)
    return found


def _stratified(data: Labelled, private: str, seed: int) -> TrainTest:
    facts = data.facts | {"task": data.labels}
    cells = 2 * data.facts[private] + data.labels
    found = datasets.split(
        Labelled(data.images, cells, {k: v for k, v in facts.items() if k != "is_test"}), seed=seed
    )
    return TrainTest(
        *(replace(part, labels=part.facts["task"]) for part in (found.train, found.test))
    )


def _row(plan: Plan, parts: TrainTest, strength: float, seed: int) -> PartitioningRow:
    private, name = plan.task.private, plan.defence if strength else "none"
    defence = registry.make(name, strength, private=private)
    # No draws in this defence; the key is here because every device has one.
    key = hashlib.sha256(b"partitioning %d" % seed).digest()
    trainee = Trainee(preset(plan.network, 2), plan.cut, defence, key)
    network = train(trainee, parts.train, replace(plan.training, seed=seed))
    device, server = Device(head(network, plan.cut), defence, key), tail(network, plan.cut)
    known, test = device.send(parts.train.images), device.send(parts.test.images)
    truth = parts.train.facts[private], parts.test.facts[private]
    through = infer_attribute(AttributeView(test, known, truth[0]), truth[1], plan.attackers)
    with torch.no_grad():
        logits = AttributeView(server(test), server(known), truth[0])
    floor = infer_attribute(logits, truth[1], plan.attackers)
    return PartitioningRow(
        defence=name,
        strength=strength,
        seed=seed,
        images=len(parts.test),
        task_accuracy=accuracy(device, server, parts.test),
        attacker=through.strongest.architecture,
        attacker_accuracy=through.strongest.test.value,
        attacker_accuracy_hindsight=through.bound.test.value,
        floor_accuracy=floor.strongest.test.value,
        majority=through.majority,
    )
