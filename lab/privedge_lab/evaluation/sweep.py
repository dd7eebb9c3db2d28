"""Cut depth x defence strength: what each choice costs the task, and what each attack still gets.

One row for each attack on each choice, with everything that names it, so a run can be resumed. The
network is trained on the training part; the attacker's known images are training images as well,
and the images attacked are test images. A defence that is not trained with is put on one network
for all cuts and strengths.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from privedge.progress import Progress
from privedge_lab.attacks import scores
from privedge_lab.attacks.attributes import infer_attribute
from privedge_lab.attacks.inversion.averaging import asked_again, averaged
from privedge_lab.attacks.inversion.black_box import BlackBoxSettings, black_box
from privedge_lab.attacks.inversion.single_layer import single_layer
from privedge_lab.attacks.inversion.white_box import WhiteBoxSettings, white_box
from privedge_lab.attacks.views import Ask, AttributeView, BlackBoxView, WhiteBoxView
from privedge_lab.baseline.defence import Defence, Device
from privedge_lab.baseline.defences import registry
from privedge_lab.baseline.draws import Repeat
from privedge_lab.baseline.network import head, tail
from privedge_lab.baseline.spec import Linear, NetworkSpec
from privedge_lab.baseline.train import Trainee, accuracy, train
from privedge_lab.datasets import TrainTest
from privedge_lab.evaluation.sweep_plan import ATTRIBUTE, NONE, SOLVERS, Choice, Plan, check
from privedge_lab.results.rows.sweep import SweepRow
from privedge_lab.results.rows.values import Raw, shown
from privedge_lab.results.store import Results

EXPERIMENT = "sweep"
_DOING = "train and attack"
_DROPPING = ("dropping", "feature-dropout")


@dataclass(frozen=True)
class Shown:
    """Reconstructions (n, C, H, W) of one row beside their originals, for a contact sheet."""

    row: SweepRow
    originals: torch.Tensor
    found: torch.Tensor

    @property
    def caption(self) -> str:
        """What was attacked, and how."""
        row = self.row
        defence = f"{row.defence} {shown(row.strength, 'g')}"
        return f"{row.cut}, {'no defence' if row.defence == NONE else defence}\n{row.attack}"


def measure(
    plan: Plan,
    parts: TrainTest,
    results: Results,
    *,
    progress: Progress | None = None,
    keep: Callable[[Shown], None] | None = None,
) -> Iterator[SweepRow]:
    """Measure what `results` does not hold yet, and yield it. `keep` gets what an inversion made.

    Raises ConfigError for a cut or fact that is not there, TrainingError for images that do not
    fit the network.
    """
    check(plan, parts)
    bench = _Bench(plan, parts)
    for done, choice in enumerate(plan.choices):
        if progress is not None:
            progress(_DOING, done, len(plan.choices))
        for one in bench.measured(choice, results):
            results.add(one.row.to_json())
            if keep is not None and one.row.attack != ATTRIBUTE:
                keep(one)
            yield one.row
    if progress is not None:
        progress(_DOING, len(plan.choices), len(plan.choices))


class _Bench:
    """Trains devices and attacks them. Keeps the network that defences without training share."""

    def __init__(self, plan: Plan, parts: TrainTest) -> None:
        self._plan, self._parts = plan, parts
        self._plain: nn.Sequential | None = None
        self._attacked = parts.test.take(torch.arange(min(plan.images, len(parts.test))))
        self._known = parts.train.take(torch.arange(min(plan.known, len(parts.train))))
        mean = parts.train.images.mean(0).expand_as(self._attacked.images)
        self._floor: Raw = {
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
            choice.defence,
            choice.strength,
            self._repeat(choice),
            private=self._plan.private,
            measuring=True,
        )
        network = self._trained(choice, defence)
        device = Device(head(network, choice.cut), defence, _key(self._plan, b"device"))
        task = accuracy(device, tail(network, choice.cut), self._parts.test)
        for attack in missing:
            row = SweepRow(
                **_configuration(attack, choice),
                seed=self._plan.training.seed,
                images=len(self._attacked),
                task_accuracy=task,
                learned=defence.learned(),
            )
            if attack == ATTRIBUTE:
                yield Shown(self._attribute(row, device), torch.empty(0), torch.empty(0))
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
        noise = choice.defence not in _DROPPING and self._plan.repeat == "fixed"
        return "per-input" if noise else self._plan.repeat

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

    def _inverted(
        self, row: SweepRow, layers: nn.Sequential, device: Device, defence: Defence
    ) -> Shown:
        attack, generator = str(row.attack), torch.Generator()
        generator.manual_seed(self._plan.training.seed)
        sent = self._asked(device)(self._attacked.images)
        white = WhiteBoxView(sent, layers, self._plan.spec.input, defence)
        if attack.startswith("white-box"):
            found = white_box(white, self._white_box(row, sent), generator=generator)
        elif attack in SOLVERS:
            found = single_layer(white, SOLVERS[attack], generator=generator)
        else:
            # A device of the attacker's own: it shares the key only where the deployment has one.
            label = b"device" if defence.repeat == "fixed" else b"attacker"
            own = Device(layers, defence, _key(self._plan, label))
            black = BlackBoxView(sent, self._asked(own), self._known)
            settings = BlackBoxSettings(
                decoder="residual" if attack == "black-box-residual" else "paper",
                epochs=self._plan.attack_epochs,
                anneal=True,
            )
            found = black_box(black, settings, generator=generator)
        scored = replace(row, **_scored(found, self._attacked.images), **self._floor)
        return Shown(scored, self._attacked.images, found)

    def _asked(self, device: Device) -> Ask:
        """What the server holds after asking `device` about the same images `asked` times."""
        if self._plan.asked == 1:
            return device.send
        return lambda images: averaged(asked_again(device.send, images, self._plan.asked))

    def _white_box(self, row: SweepRow, sent: torch.Tensor) -> WhiteBoxSettings:
        determined = sent[0].numel() > 2 * self._attacked.images[0].numel()
        smoothness = 0.0 if determined and row.defence == NONE else 1.0
        if _dense(self._plan.spec, str(row.cut)):
            smoothness = 1e3
        return WhiteBoxSettings(
            iterations=self._plan.iterations,
            rate=5e-2,
            smoothness=smoothness,
            eps=1e-8,
            anneal=True,
            masked=row.attack == "white-box-masked",
        )

    def _attribute(self, row: SweepRow, device: Device) -> SweepRow:
        private, test = str(self._plan.private), self._parts.test
        view = AttributeView(
            sent=self._asked(device)(test.images),
            known_sent=self._asked(device)(self._known.images),
            known_attribute=self._known.facts[private],
        )
        score = infer_attribute(view, test.facts[private], self._plan.attackers)
        return replace(
            row,
            private=private,
            images=len(test),
            attacker=score.strongest.architecture,
            attacker_accuracy=score.strongest.test.value,
            attacker_plus_minus=score.strongest.test.plus_minus,
            majority=score.majority,
        )


def _configuration(attack: str, choice: Choice) -> Raw:
    return {
        "attack": attack,
        "cut": choice.cut,
        "defence": choice.defence,
        "strength": choice.strength,
    }


def _scored(found: torch.Tensor, images: torch.Tensor) -> Raw:
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
