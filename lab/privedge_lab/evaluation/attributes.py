"""What a split server learns of a private attribute, with one defence at one strength.

Beside the strongest fresh attacker on what crosses the cut stands the floor: the same attackers on
the logits alone, which the server has in any case. A task that goes with the attribute gives it
away there, and no defence of the cut can do anything about that
(docs/explanation/references.md#privacy-partitioning).
"""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch

from privedge.progress import Progress
from privedge_lab.attacks.attributes import AttackerSettings, AttributeScore, infer_attribute
from privedge_lab.attacks.views import AttributeView
from privedge_lab.baseline.defence import Device
from privedge_lab.baseline.defences import registry
from privedge_lab.baseline.draws import KEY_BYTES, Repeat
from privedge_lab.baseline.network import head, tail
from privedge_lab.baseline.presets import preset
from privedge_lab.baseline.train import Trainee, TrainSettings, accuracy, train
from privedge_lab.datasets import TrainTest
from privedge_lab.results.rows.attributes import Attacker, AttributesRow
from privedge_lab.results.rows.values import Raw
from privedge_lab.results.store import Results

EXPERIMENT = "attributes"
_AT_ONCE = 500


@dataclass(frozen=True)
class AttributeSettings:
    """Which network, cut where, defended how; `private` is the name of a fact of the images."""

    private: str
    preset: str
    cut: str
    defence: str = "none"
    strength: float = 0.0
    repeat: Repeat = "per-input"
    epochs: int = 20
    seed: int = 0


def measure(
    settings: AttributeSettings,
    data: TrainTest,
    results: Results,
    progress: Progress,
    attackers: AttackerSettings | None = None,
) -> Iterator[AttributesRow]:
    """Train, attack, and add one row to `results`, unless it has it; yields that row.

    The attacker knows the attribute of all images that the network was trained on and has a device
    of the deployment to ask; the test images are attacked. Raises ConfigError for settings that do
    not fit the images.
    """
    row = results.row(AttributesRow, asdict(settings))
    if row is None:
        row = _measured(settings, data, progress, attackers)
        results.add(row.to_json())
    yield row


def _measured(
    settings: AttributeSettings,
    data: TrainTest,
    progress: Progress,
    attackers: AttackerSettings | None,
) -> AttributesRow:
    spec = preset(settings.preset, max(2, data.train.classes, data.test.classes))
    defence = registry.make(
        settings.defence, settings.strength, settings.repeat, private=settings.private
    )
    key = os.urandom(KEY_BYTES)
    network = train(
        Trainee(spec, settings.cut, defence, key),
        data.train,
        TrainSettings(epochs=settings.epochs, seed=settings.seed),
        progress=lambda now: progress("train", now.epoch, now.epochs),
    )
    device, server = Device(head(network, settings.cut), defence, key), tail(network, settings.cut)
    known, tested = (_sent(device, part.images) for part in (data.train, data.test))
    truth = data.train.facts[settings.private], data.test.facts[settings.private]

    def attack(doing: str, seen: torch.Tensor, known_seen: torch.Tensor) -> AttributeScore:
        return infer_attribute(
            AttributeView(seen, known_seen, truth[0]),
            truth[1],
            attackers,
            progress=lambda _, done, total: progress(doing, done, total),
        )

    with torch.no_grad():
        logits = server(tested), server(known)
    crossing = attack("attack what crosses", tested, known)
    floor = attack("attack the logits", *logits)
    return AttributesRow(
        **asdict(settings),
        **_scores(crossing, floor),
        task_accuracy=accuracy(device, server, data.test),
        images=len(tested),
    )


def _scores(crossing: AttributeScore, floor: AttributeScore) -> Raw:
    return {
        "attack": "attribute",
        "accuracy": crossing.strongest.test.value,
        "plus_minus": crossing.strongest.test.plus_minus,
        "architecture": crossing.strongest.architecture,
        "bound": crossing.bound.test.value,
        "majority": crossing.majority,
        "above_majority": crossing.above_majority,
        "floor_accuracy": floor.strongest.test.value,
        "floor_bound": floor.bound.test.value,
        "attackers": tuple(
            Attacker(architecture=each.architecture, seed=each.seed, accuracy=each.test.value)
            for each in crossing.attackers
        ),
    }


def _sent(device: Device, images: torch.Tensor) -> torch.Tensor:
    return torch.cat([device.send(part) for part in images.split(_AT_ONCE)])
