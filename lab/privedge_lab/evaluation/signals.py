"""Dropping Activation Outputs (Dong et al. 2017, arXiv 1711.07520) in its own domain: signals.

For each seed, task, network and share to drop: what is left of the task, whether the counting
condition holds, what attackers reconstruct, and what a device pays. The attackers are

    mean             looks at nothing: the floor
    pseudo-inverse   knows the head, takes zeros as unknown, solves the equations (the paper's own)
    prior            the same, and knows such signals: their mean and covariance
    decoder          trained on what a device of its own sends, with masks of another key

The device keeps a mask for equal signals (`per-input`) or one for all (`fixed`); then the
attacker's own device, of the same deployment, has it too.
"""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import nn

from privedge.progress import Progress
from privedge_lab.attacks import scores
from privedge_lab.attacks.inversion.black_box import BlackBoxSettings, black_box
from privedge_lab.attacks.inversion.prior import with_prior
from privedge_lab.attacks.inversion.single_layer import SingleLayerSettings, single_layer
from privedge_lab.attacks.views import BlackBoxView, WhiteBoxView
from privedge_lab.baseline.codec import VALUE_BYTES
from privedge_lab.baseline.defence import Device
from privedge_lab.baseline.defences.counting import counting
from privedge_lab.baseline.defences.dropping import Dropping
from privedge_lab.baseline.draws import Repeat
from privedge_lab.baseline.network import head, tail
from privedge_lab.baseline.train import Trainee, TrainSettings, accuracy, explained, train
from privedge_lab.results.rows.signals import SignalsRow
from privedge_lab.results.rows.values import Raw
from privedge_lab.results.store import Results
from privedge_lab.signals.tasks import CUT, SignalTask, network, task

EXPERIMENT = "signals"
ATTACKS = ("mean", "pseudo-inverse", "prior", "decoder")
_DOING = "train and attack"
_TIMED = 200


@dataclass(frozen=True)
class Plan:
    """What to measure. `effort` scales the epochs of networks and decoders, for trials."""

    tasks: tuple[str, ...]
    networks: tuple[str, ...] = ("dense",)
    strengths: tuple[float, ...] = (0.0, 0.5, 0.8, 0.9)
    seeds: tuple[int, ...] = (0,)
    repeat: Repeat = "per-input"
    signals: int = 200
    decoder_epochs: int = 30
    effort: float = 1.0

    def settings(self) -> Raw:
        """What all rows have in common, for the results' file."""
        return {
            "attacked": self.signals,
            "decoder_epochs": self.decoder_epochs,
            "effort": self.effort,
        }


def measure(
    plan: Plan, results: Results, *, progress: Progress | None = None
) -> Iterator[SignalsRow]:
    """Measure what `results` does not hold yet, add its rows there, and yield each.

    Raises ConfigError for an unknown task or network, or a share that is not in [0, 1).
    """
    choices = list(product(plan.seeds, plan.tasks, plan.networks, plan.strengths))
    for seed, name, layers, strength in choices:
        network(layers, task(name, seed))  # refuses now what would fail after an hour
        Dropping(strength, plan.repeat)
    for done, (seed, name, layers, strength) in enumerate(choices):
        if progress is not None:
            progress(_DOING, done, len(choices))
        named = {"task": name, "network": layers, "strength": strength}
        named |= {"seed": seed, "repeat": plan.repeat}
        missing = [each for each in ATTACKS if results.find(named | {"attack": each}) is None]
        if not missing:
            continue
        bench = _Bench(plan, task(name, seed), layers, strength, seed)
        for attack in missing:
            row = bench.row(attack, named)
            results.add(row.to_json())
            yield row
    if progress is not None:
        progress(_DOING, len(choices), len(choices))


class _Bench:
    """One trained network behind one share of dropping, its device, and the signals attacked."""

    def __init__(self, plan: Plan, of: SignalTask, layers: str, strength: float, seed: int) -> None:
        self._plan, self._of, self._seed = plan, of, seed
        self._spec = network(layers, of)
        self._defence = Dropping(strength, plan.repeat)
        epochs = max(1, round(of.epochs * plan.effort))
        trainee = Trainee(self._spec, CUT, self._defence, _key(seed, b"device"))
        trained = train(trainee, of.parts.train, TrainSettings(epochs=epochs, seed=seed))
        self._head, self._tail = head(trained, CUT), tail(trained, CUT)
        self._device = self._with_key(b"device")
        self._secret = of.parts.test.images[: plan.signals]
        self._common = self._cost() | self._kept()

    def row(self, attack: str, named: Raw) -> SignalsRow:
        """Run one attack and score it."""
        found = self._found(attack).reshape(self._secret.shape)
        psnr = scores.mean(scores.psnr_db(found, self._secret))
        like = scores.mean(scores.correlation(found, self._secret))
        return SignalsRow(
            **named,
            attack=attack,
            signals=len(self._secret),
            psnr_db=psnr.value,
            psnr_db_plus_minus=psnr.plus_minus,
            correlation=like.value,
            correlation_plus_minus=like.plus_minus,
            **self._common,
        )

    def _found(self, attack: str) -> torch.Tensor:
        known, generator = self._of.parts.train, torch.Generator().manual_seed(self._seed)
        if attack == "mean":
            return known.images.mean(0).expand_as(self._secret)
        sent = self._device.send(self._secret)
        if attack == "decoder":
            fixed = self._defence.repeat == "fixed"
            own = self._with_key(b"device" if fixed else b"attacker")
            epochs = max(1, round(self._plan.decoder_epochs * self._plan.effort))
            settings = BlackBoxSettings(decoder="dense", epochs=epochs, eps=1e-8, anneal=True)
            return black_box(BlackBoxView(sent, own.send, known), settings, generator=generator)
        white = WhiteBoxView(sent, self._head, self._of.shape, self._defence)
        if attack == "prior":
            return with_prior(white, known.images, generator=generator)
        return single_layer(white, SingleLayerSettings(), generator=generator)

    def _kept(self) -> Raw:
        counted = counting(self._spec, CUT, self._defence.strength)
        test, classes = self._of.parts.test, not self._spec.regression
        quality = (accuracy if classes else explained)(self._device, self._tail, test)
        return {
            "inputs": counted.inputs,
            "outputs": counted.outputs,
            "kept": counted.kept,
            "holds": counted.holds,
            "measure": "accuracy" if classes else "R squared",
            "quality": quality,
        }

    def _cost(self) -> Raw:
        """Time and bytes of the device, one signal after the other, as a sensor has them."""
        sent = self._device.send(self._secret[:1])
        weights = sum(each.numel() for each in self._head.parameters())
        return {
            "device_us": 1e6 * _seconds(self._device, self._secret),
            "sent_bytes": VALUE_BYTES * sent.numel(),
            "signal_bytes": VALUE_BYTES * self._secret[0].numel(),
            "head_bytes": VALUE_BYTES * weights,
            "multiplications": _multiplications(self._head, self._secret[:1]),
        }

    def _with_key(self, whose: bytes) -> Device:
        return Device(self._head, self._defence, _key(self._seed, whose))


def _seconds(device: Device, signals: torch.Tensor) -> float:
    """CPU seconds of one signal, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        started = time.process_time()
        for turn in range(_TIMED):
            device.send(signals[turn % len(signals)][None])
        return (time.process_time() - started) / _TIMED
    finally:
        torch.set_num_threads(threads)


def _multiplications(layers: nn.Sequential, signal: torch.Tensor) -> int:
    """Count the multiplications of convolutions and dense layers for one signal."""
    count = 0
    with torch.no_grad():
        for layer in layers:
            signal = layer(signal)
            if isinstance(layer, nn.Linear):
                count += layer.weight.numel()
            elif isinstance(layer, nn.Conv2d):
                count += layer.weight.numel() * signal[0, 0].numel()
    return count


def _key(seed: int, whose: bytes) -> bytes:
    # An experiment's key hides nothing from anybody: it must be repeatable, as its seed is.
    return hashlib.sha256(b"signals %s %d" % (whose, seed)).digest()
