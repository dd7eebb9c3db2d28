"""What a split server learns of a private attribute, with one defence at one strength.

Beside the strongest fresh attacker on what crosses the cut stands the floor: the same attackers on
the logits alone, which the server has in any case. A task that goes with the attribute gives it
away there, and no defence of the cut can do anything about that
(docs/explanation/references.md#privacy-partitioning).
"""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

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
# In place of a cut: the device sends vectors, or what a public encoder makes of its pictures.
FEATURES = "features"
_AT_ONCE = 500
_ITERATIONS = 1000


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

    Vectors cross as they are, and the server answers with a linear classifier of them.

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
    seen = _linear(data) if data.train.of_vectors else _cut(settings, data, progress)
    truth = data.train.facts[settings.private], data.test.facts[settings.private]

    def attack(doing: str, seen: torch.Tensor, known_seen: torch.Tensor) -> AttributeScore:
        return infer_attribute(
            AttributeView(seen, known_seen, truth[0]),
            truth[1],
            attackers,
            progress=lambda _, done, total: progress(doing, done, total),
        )

    crossing = attack("attack what crosses", seen.tested, seen.known)
    floor = attack("attack the logits", *seen.logits)
    return AttributesRow(
        **asdict(settings),
        **_scores(crossing, floor),
        task_accuracy=seen.accuracy,
        images=len(seen.tested),
    )


@dataclass(frozen=True)
class _Seen:
    """What a server gets of the known images and of those under attack, float32 (n, ...).

    logits: its answers, of those under attack first. accuracy: of these answers.
    """

    known: torch.Tensor
    tested: torch.Tensor
    logits: tuple[torch.Tensor, torch.Tensor]
    accuracy: float


def _linear(data: TrainTest) -> _Seen:
    known, tested = (part.images.float() for part in (data.train, data.test))
    scale = StandardScaler().fit(known.numpy())
    classifier = LogisticRegression(max_iter=_ITERATIONS)
    classifier.fit(scale.transform(known.numpy()), data.train.labels.numpy())
    rows = [scale.transform(each.numpy()) for each in (tested, known)]
    logits = [classifier.predict_log_proba(each).astype(np.float32) for each in rows]
    right = float(classifier.score(rows[0], data.test.labels.numpy()))
    return _Seen(known, tested, (torch.from_numpy(logits[0]), torch.from_numpy(logits[1])), right)


def _cut(settings: AttributeSettings, data: TrainTest, progress: Progress) -> _Seen:
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
    with torch.no_grad():
        logits = server(tested), server(known)
    return _Seen(known, tested, logits, accuracy(device, server, data.test))


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
