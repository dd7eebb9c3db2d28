"""Privacy Partitioning (Chi et al. 2018) on a task and a private attribute, with fresh attackers.

Attackers guess the attribute (attacks.attributes) and reconstruct the image
(attacks.inversion.strongest).

For each seed: a split of its own, a network without defence and one for each strength, each
attacked by attackers that training never met (attacks.attributes), once through what crosses the
cut and once through the logits: what the answer itself gives away is the floor that no defence of
the cut goes below without spoiling the answer.

Strengths are chosen on the `validation` part: it is cut out of the training images, and the test
images are then not looked at. The `test` part is for the strength that was chosen.

Attackers learn from the network's own training images, or (`taught="unseen"`) from images that the
network never saw; the network then has only half of the training part.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, quantiles
from typing import Literal

import torch

from privedge.progress import Progress
from privedge_lab import datasets
from privedge_lab.attacks import scores
from privedge_lab.attacks.attributes import AttackerSettings, infer_attribute
from privedge_lab.attacks.inversion.strongest import strongest
from privedge_lab.attacks.views import AttributeView, BlackBoxView
from privedge_lab.baseline.defence import Device
from privedge_lab.baseline.defences import registry
from privedge_lab.baseline.network import head, tail
from privedge_lab.baseline.presets import preset
from privedge_lab.baseline.train import Trainee, TrainSettings, accuracy, train
from privedge_lab.datasets import Labelled, TrainTest
from privedge_lab.evaluation.facts import with_task
from privedge_lab.results.rows.partitioning import PartitioningRow
from privedge_lab.results.rows.values import Figure, Raw
from privedge_lab.results.store import Results

EXPERIMENT = "partitioning"
_DOING = "train and attack"
Part = Literal["validation", "test"]
Taught = Literal["training", "unseen"]


@dataclass(frozen=True)
class Plan:
    """What to measure. `strengths` are measured beside 0, which is no defence.

    `task` and `private` are written as evaluation.facts says. With `images`, only so many are used,
    drawn anew for each seed. `decoder_epochs` are those of attackers who reconstruct.
    """

    task: str
    private: str
    defence: str = "balanced-partitioning"
    network: str = "face-guess"
    cut: str = "guess"
    strengths: tuple[float, ...] = (0.65,)
    seeds: tuple[int, ...] = (0, 1, 2)
    part: Part = "test"
    taught: Taught = "training"
    images: int | None = None
    decoder_epochs: int = 30
    training: TrainSettings = field(
        default_factory=lambda: TrainSettings(epochs=25, mirror=True, shift=4)
    )
    attackers: AttackerSettings = field(default_factory=AttackerSettings)

    def settings(self) -> Raw:
        """What all rows have in common, for the results' file."""
        return {
            "task": self.task,
            "private": self.private,
            "defence": self.defence,
            "network": self.network,
            "cut": self.cut,
            "part": self.part,
            "taught": self.taught,
            "used": self.images,
            "decoder_epochs": self.decoder_epochs,
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
    labelled = with_task(data, plan.task, plan.private)
    choices = [(seed, strength) for seed in plan.seeds for strength in (0.0, *plan.strengths)]
    for done, (seed, strength) in enumerate(choices):
        if progress is not None:
            progress(_DOING, done, len(choices))
        named = {"defence": plan.defence if strength else "none", "strength": strength}
        row = results.row(PartitioningRow, named | {"seed": seed})
        if row is None:
            row = _row(plan, parts_of(labelled, plan, seed), strength, seed)
            results.add(row.to_json())
        yield row
    if progress is not None:
        progress(_DOING, len(choices), len(choices))


@dataclass(frozen=True)
class Mean:
    """Means over the seeds of one strength: shares, and differences in points (100 x share).

    `above_majority_each` has a difference for each seed, in ascending order.
    """

    strength: float
    seeds: int
    task_accuracy: float
    task_loss_points: float
    above_majority_points: float
    above_majority_plus_minus: float
    floor_above_majority_points: float
    above_majority_each: tuple[float, ...]
    psnr_db: Figure
    ssim: Figure
    mean_image_psnr_db: Figure
    mean_image_ssim: Figure

    def quartiles(self) -> tuple[float, ...]:
        """The least, the three quartiles and the greatest of `above_majority_each`."""
        each = self.above_majority_each
        inner = quantiles(each, method="inclusive") if len(each) > 1 else 3 * [*each]
        return (each[0], *inner, each[-1]) if each else ()


def summary(rows: Sequence[PartitioningRow]) -> list[Mean]:
    """One for each strength. A row without one of its figures does not count in that mean."""
    undefended = (row.task_accuracy for row in rows if row.strength == 0)
    plain = fmean(share for share in undefended if share is not None)
    found = []
    for strength in sorted({row.strength for row in rows if row.strength is not None}):
        mine = [row for row in rows if row.strength == strength]
        task = _mean([row.task_accuracy for row in mine])
        each = [_difference(row.attacker_accuracy, row.majority) for row in mine]
        above = _mean(each)
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
                tuple(sorted(100 * points for points in each if points is not None)),
                _or_none([row.psnr_db for row in mine]),
                _or_none([row.ssim for row in mine]),
                _or_none([row.mean_image_psnr_db for row in mine]),
                _or_none([row.mean_image_ssim for row in mine]),
            )
        )
    return found


def _mean(values: Sequence[Figure]) -> scores.Mean:
    return scores.mean(torch.tensor([value for value in values if value is not None]))


def _or_none(values: Sequence[Figure]) -> Figure:
    """The mean; None for rows of an older version, which lack the figure."""
    return _mean(values).value if any(value is not None for value in values) else None


def _difference(one: Figure, other: Figure) -> Figure:
    return None if one is None or other is None else one - other


@dataclass(frozen=True)
class Parts:
    """What the network learns from, what attackers learn from, and what they attack."""

    network: Labelled
    attackers: Labelled
    test: Labelled


def parts_of(data: Labelled, plan: Plan, seed: int) -> Parts:
    """All parts have the same shares of each label with each private value."""
    if plan.images is not None and plan.images < len(data):
        generator = torch.Generator().manual_seed(seed)
        data = data.take(torch.randperm(len(data), generator=generator)[: plan.images])
    found = _stratified(data, plan.private, seed)
    if plan.part == "validation":
        found = _stratified(found.train, plan.private, seed)
    if plan.taught == "training":
        return Parts(found.train, found.train, found.test)
    halves = _stratified(found.train, plan.private, seed, test_share=0.5)
    return Parts(halves.train, halves.test, found.test)


def _stratified(data: Labelled, private: str, seed: int, test_share: float = 0.2) -> TrainTest:
    facts = data.facts | {"task": data.labels}
    cells = data.classes * data.facts[private] + data.labels
    found = datasets.split(
        Labelled(data.images, cells, {k: v for k, v in facts.items() if k != "is_test"}),
        seed=seed,
        test_share=test_share,
    )
    return TrainTest(
        *(replace(part, labels=part.facts["task"]) for part in (found.train, found.test))
    )


def _row(plan: Plan, parts: Parts, strength: float, seed: int) -> PartitioningRow:
    private, name = plan.private, plan.defence if strength else "none"
    defence = registry.make(name, strength, private=private)
    # No draws in this defence; the key is here because every device has one.
    key = hashlib.sha256(b"partitioning %d" % seed).digest()
    spec = preset(plan.network, max(2, parts.network.classes))
    trainee = Trainee(spec, plan.cut, defence, key)
    network = train(trainee, parts.network, replace(plan.training, seed=seed))
    device, server = Device(head(network, plan.cut), defence, key), tail(network, plan.cut)
    known, test = device.send(parts.attackers.images), device.send(parts.test.images)
    truth = parts.attackers.facts[private], parts.test.facts[private]
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
        **_reconstructed(plan, device, parts, seed),
    )


def _reconstructed(plan: Plan, device: Device, parts: Parts, seed: int) -> Raw:
    """How like the test images the strongest attacker's are, and those of the mean image."""
    truth = parts.test.images
    view = BlackBoxView(device.send(truth), device.send, parts.attackers)
    found = strongest(view, seed=seed, epochs=plan.decoder_epochs)
    mean = parts.attackers.images.mean(0).expand_as(truth)
    return {
        "reconstructor": found.attacker,
        "psnr_db": scores.mean(scores.psnr_db(found.images, truth)).value,
        "ssim": scores.mean(scores.ssim(found.images, truth)).value,
        "mean_image_psnr_db": scores.mean(scores.psnr_db(mean, truth)).value,
        "mean_image_ssim": scores.mean(scores.ssim(mean, truth)).value,
    }
