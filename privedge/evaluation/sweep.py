"""Cut depth x defence strength: what each choice costs the task, and what each attack still gets.

One row for each attack on each choice, with everything that names it, so a run can be resumed. The
network is trained on the training part; the attacker's known images are training images as well,
and the images attacked are test images. A defence that is not trained with is put on one network
for all cuts and strengths.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from privedge.attacks import scores
from privedge.attacks.attributes import AttackerSettings, infer_attribute
from privedge.attacks.inversion.black_box import BlackBoxSettings, black_box
from privedge.attacks.inversion.white_box import WhiteBoxSettings, white_box
from privedge.attacks.views import AttributeView, BlackBoxView, WhiteBoxView
from privedge.datasets import Split
from privedge.errors import ConfigError
from privedge.evaluation.results import Results, Row
from privedge.split.defence import Defence, Device
from privedge.split.defences import registry
from privedge.split.draws import Repeat
from privedge.split.network import head, tail
from privedge.split.spec import Linear, NetworkSpec
from privedge.split.train import Trainee, TrainSettings, accuracy, train

INVERSIONS = ("white-box", "white-box-masked", "black-box", "black-box-residual")
ATTRIBUTE = "attribute"
_NONE = "none"
_DROPPING = ("dropping", "feature-dropout")


@dataclass(frozen=True)
class Choice:
    """One device: where it cuts, and how it defends itself."""

    cut: str
    defence: str
    strength: float


@dataclass(frozen=True)
class Plan:
    """What to measure. `private`: the fact that attribute attackers (and partitioning) are about.

    `images` test images are attacked; attackers know `known` training images. `iterations` are
    those of white-box attacks, `attack_epochs` those of black-box ones.
    """

    spec: NetworkSpec
    choices: tuple[Choice, ...]
    attacks: tuple[str, ...] = ("white-box", "black-box")
    repeat: Repeat = "per-input"
    private: str | None = None
    training: TrainSettings = field(default_factory=TrainSettings)
    images: int = 200
    known: int = 2000
    iterations: int = 500
    attack_epochs: int = 20
    attackers: AttackerSettings = field(default_factory=AttackerSettings)

    def settings(self) -> Row:
        """What all rows have in common, for the results' file."""
        return {
            "network": self.spec.name,
            "network_digest": self.spec.digest(),
            "repeat": self.repeat,
            "private": self.private,
            "epochs": self.training.epochs,
            "seed": self.training.seed,
            "images": self.images,
            "known": self.known,
            "iterations": self.iterations,
            "attack_epochs": self.attack_epochs,
        }


def choices(
    cuts: tuple[str, ...], defences: tuple[str, ...], strengths: dict[str, tuple[float, ...]]
) -> tuple[Choice, ...]:
    """Each cut without defence, and with each defence at each of its strengths.

    `strengths` by the defence's name; "" stands for those not named. Raises ConfigError.
    """
    found = []
    for cut in cuts:
        found.append(Choice(cut, _NONE, 0.0))
        for name in defences:
            for strength in () if name == _NONE else strengths.get(name, strengths.get("", ())):
                registry.make(name, strength)  # refuses now what would fail after an hour
                found.append(Choice(cut, name, strength))
    missing = [name for name in defences if name != _NONE and not strengths.get(name)]
    if missing and not strengths.get(""):
        raise ConfigError(f"{missing[0]}: give it strengths to measure")
    return tuple(found)


@dataclass(frozen=True)
class Shown:
    """Reconstructions (n, C, H, W) of one row beside their originals, for a contact sheet."""

    row: Row
    originals: torch.Tensor
    found: torch.Tensor


def sweep(
    plan: Plan,
    parts: Split,
    results: Results,
    *,
    progress: Callable[[int, int], None] | None = None,
    shown: Callable[[Shown], None] | None = None,
) -> None:
    """Measure what `results` does not hold yet. `progress` gets choices done and in all.

    Raises ConfigError for a cut or fact that is not there, TrainingError for images that do not
    fit the network.
    """
    _check(plan, parts)
    bench = _Bench(plan, parts)
    for done, choice in enumerate(plan.choices):
        if progress is not None:
            progress(done, len(plan.choices))
        for one in bench.measured(choice, results):
            results.add(one.row)
            if shown is not None and one.row["attack"] != ATTRIBUTE:
                shown(one)
    if progress is not None:
        progress(len(plan.choices), len(plan.choices))


class _Bench:
    """Trains devices and attacks them. Keeps the network that defences without training share."""

    def __init__(self, plan: Plan, parts: Split) -> None:
        self._plan, self._parts = plan, parts
        self._plain: nn.Sequential | None = None
        self._attacked = parts.test.take(torch.arange(min(plan.images, len(parts.test))))
        self._known = parts.train.take(torch.arange(min(plan.known, len(parts.train))))
        mean = parts.train.images.mean(0).expand_as(self._attacked.images)
        self._floor = {
            "mean_image_psnr_db": scores.mean(scores.psnr_db(mean, self._attacked.images)).value,
            "mean_image_ssim": scores.mean(scores.ssim(mean, self._attacked.images)).value,
        }

    def measured(self, choice: Choice, results: Results) -> Iterator[Shown]:
        """The rows of `choice` that are not there yet."""
        missing = [
            attack
            for attack in self._attacks(choice)
            if results.find(_configuration(attack, choice)) is None
        ]
        if not missing:
            return
        defence = registry.make(
            choice.defence, choice.strength, self._repeat(choice), private=self._plan.private
        )
        network = self._trained(choice, defence)
        device = Device(head(network, choice.cut), defence, _key(self._plan, b"device"))
        common = {
            "seed": self._plan.training.seed,
            "images": len(self._attacked),
            "task_accuracy": accuracy(device, tail(network, choice.cut), self._parts.test),
            "learned": defence.learned(),
        }
        for attack in missing:
            row = _configuration(attack, choice) | common
            if attack == ATTRIBUTE:
                yield Shown(row | self._attribute(device), torch.empty(0), torch.empty(0))
            else:
                yield self._inverted(row, head(network, choice.cut), device, defence)

    def _attacks(self, choice: Choice) -> list[str]:
        chosen = list(self._plan.attacks)
        if choice.defence in _DROPPING and "white-box" in chosen:
            chosen.append("white-box-masked")
        if self._plan.private is not None:
            chosen.append(ATTRIBUTE)
        return chosen

    def _repeat(self, choice: Choice) -> Repeat:
        # A constant offset hides nothing, so noise is never fixed.
        return self._plan.repeat if choice.defence in _DROPPING else "per-input"

    def _trained(self, choice: Choice, defence: Defence) -> nn.Sequential:
        plan = self._plan
        if defence.trains:
            trainee = Trainee(plan.spec, choice.cut, defence, _key(plan, b"device"))
            return train(trainee, self._parts.train, plan.training)
        if self._plain is None:
            trainee = Trainee(plan.spec, choice.cut, Defence(), _key(plan, b"device"))
            self._plain = train(trainee, self._parts.train, plan.training)
        defence.finish(head(self._plain, choice.cut), self._parts.train)
        return self._plain

    def _inverted(self, row: Row, layers: nn.Sequential, device: Device, defence: Defence) -> Shown:
        sent = device.send(self._attacked.images)
        generator = torch.Generator().manual_seed(self._plan.training.seed)
        if str(row["attack"]).startswith("white-box"):
            white = WhiteBoxView(sent, layers, self._plan.spec.input, defence)
            found = white_box(white, self._white_box(row, sent), generator=generator)
        else:
            # A device of the attacker's own: it shares the key only where the deployment has one.
            label = b"device" if defence.repeat == "fixed" else b"attacker"
            own = Device(layers, defence, _key(self._plan, label))
            black = BlackBoxView(sent, own.send, self._known)
            residual = row["attack"] == "black-box-residual"
            settings = BlackBoxSettings(
                decoder="residual" if residual else "paper",
                epochs=self._plan.attack_epochs,
                anneal=True,
            )
            found = black_box(black, settings, generator=generator)
        return Shown(
            row | _scored(found, self._attacked.images) | self._floor, self._attacked.images, found
        )

    def _white_box(self, row: Row, sent: torch.Tensor) -> WhiteBoxSettings:
        determined = sent[0].numel() > 2 * self._attacked.images[0].numel()
        smoothness = 0.0 if determined and row["defence"] == _NONE else 1.0
        if _dense(self._plan.spec, str(row["cut"])):
            smoothness = 1e3
        return WhiteBoxSettings(
            iterations=self._plan.iterations,
            rate=5e-2,
            smoothness=smoothness,
            eps=1e-8,
            anneal=True,
            masked=row["attack"] == "white-box-masked",
        )

    def _attribute(self, device: Device) -> Row:
        private, test = str(self._plan.private), self._parts.test
        view = AttributeView(
            sent=device.send(test.images),
            known_sent=device.send(self._known.images),
            known_attribute=self._known.facts[private],
        )
        score = infer_attribute(view, test.facts[private], self._plan.attackers)
        return {
            "private": private,
            "images": len(test),
            "attacker": score.strongest.architecture,
            "attacker_accuracy": score.strongest.test.value,
            "attacker_plus_minus": score.strongest.test.plus_minus,
            "majority": score.majority,
        }


def _configuration(attack: str, choice: Choice) -> Row:
    return {
        "attack": attack,
        "cut": choice.cut,
        "defence": choice.defence,
        "strength": choice.strength,
    }


def _scored(found: torch.Tensor, images: torch.Tensor) -> Row:
    psnr, ssim = scores.mean(scores.psnr_db(found, images)), scores.mean(scores.ssim(found, images))
    return {
        "psnr_db": psnr.value,
        "psnr_db_plus_minus": psnr.plus_minus,
        "ssim": ssim.value,
        "ssim_plus_minus": ssim.plus_minus,
    }


def _dense(spec: NetworkSpec, cut: str) -> bool:
    names = [layer.name for layer in spec.layers]
    return any(isinstance(layer, Linear) for layer in spec.layers[: names.index(cut) + 1])


def _key(plan: Plan, label: bytes) -> bytes:
    # An experiment's key hides nothing from anybody: it must be repeatable, as its seed is.
    return hashlib.sha256(b"sweep %s %d" % (label, plan.training.seed)).digest()


def _check(plan: Plan, parts: Split) -> None:
    for choice in plan.choices:
        if choice.cut not in plan.spec.cuts:
            raise ConfigError(
                f"{choice.cut}: no such cut; {plan.spec.name} has {', '.join(plan.spec.cuts)}"
            )
    unknown = [name for name in plan.attacks if name not in INVERSIONS]
    if unknown:
        raise ConfigError(f"{unknown[0]}: no such attack; there are {', '.join(INVERSIONS)}")
    if plan.private is not None and plan.private not in parts.train.facts:
        raise ConfigError(
            f"{plan.private}: no such fact; there are {', '.join(parts.train.facts) or 'none'}"
        )
