"""The table of He et al. 2019 as it stands there: nine settings, two networks, five cuts.

The training part is halved: one half is the network's own set, the other a set of the same
distribution that it never saw. Test images are attacked. All settings of a run share one network,
which is kept beside the rows, so that a run that is gone on with need not train it again.
`attack table` has stronger decoders, tuned searches and defences on LeNet beside these.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import product
from pathlib import Path

import torch
from torch import nn

from privedge.errors import ConfigError
from privedge.progress import Progress
from privedge_lab import datasets, outputs
from privedge_lab.attacks import scores
from privedge_lab.attacks.inversion.black_box import black_box
from privedge_lab.attacks.inversion.query_free import imitation, query_free
from privedge_lab.attacks.inversion.white_box import white_box
from privedge_lab.attacks.views import BlackBoxView, QueryFreeView, WhiteBoxView
from privedge_lab.baseline import model_file
from privedge_lab.baseline.defence import Defence, Device
from privedge_lab.baseline.network import build, head, tail
from privedge_lab.baseline.presets import preset
from privedge_lab.baseline.train import Trainee, TrainSettings, accuracy, train
from privedge_lab.datasets import Labelled
from privedge_lab.evaluation.inversion_plan import CUTS, SETTINGS, Known, Plan, paper
from privedge_lab.results.rows.inversion_settings import InversionSettingRow
from privedge_lab.results.rows.values import Raw
from privedge_lab.results.store import Results

EXPERIMENT = "inversion"
_DOING = "attack"
_PART = "inversion"
# No knowledge of any image: grey on average, and mostly within what pixels can be.
_NOISE_MEAN, _NOISE_STD = 0.5, 0.25


def check(plan: Plan) -> None:
    """Raises ConfigError for a network, cut or setting that the table does not have."""
    if plan.network not in CUTS:
        raise ConfigError(f"{plan.network}: the table is of {', '.join(CUTS)}")
    for asked, there in ((plan.cuts, CUTS[plan.network]), (plan.settings, tuple(SETTINGS))):
        for name in asked:
            if name not in there:
                raise ConfigError(f"{name}: the table has {', '.join(there)}")


def measure(
    plan: Plan,
    data: Labelled,
    results: Results,
    *,
    kept: Path | None = None,
    progress: Progress | None = None,
) -> Iterator[InversionSettingRow]:
    """Measure what `results` does not hold yet, add its rows there, and yield each.

    The network is kept in the file `kept`. One that is there already is taken, if it was trained
    like this on this set. Raises ConfigError as `check` does, and for a file `kept` that is no
    network; TrainingError for images that do not fit the network.
    """
    check(plan)
    if kept is not None:
        outputs.require_replaceable(kept, outputs.NETWORK)
    bench: _Bench | None = None
    cells = list(product(plan.cuts, plan.settings))
    for done, (cut, setting) in enumerate(cells):
        if progress is not None:
            progress(_DOING, done, len(cells))
        named = {"setting": setting, "network": plan.network, "cut": cut, "seed": plan.seed}
        if results.find(named) is None:
            bench = bench or _Bench(plan, data, kept)
            row = bench.row(cut, setting, named)
            results.add(row.to_json())
            yield row
    if progress is not None:
        progress(_DOING, len(cells), len(cells))


class _Bench:
    """The one network, the sets of its attackers, and the images attacked."""

    def __init__(self, plan: Plan, data: Labelled, kept: Path | None) -> None:
        self._plan = plan
        parts = datasets.split(data, seed=plan.seed)
        half = len(parts.train) // 2
        order = torch.arange(len(parts.train))
        mine = parts.train.take(order[:half])
        generator = torch.Generator().manual_seed(plan.seed)
        noise = torch.randn(mine.images.shape, generator=generator) * _NOISE_STD + _NOISE_MEAN
        self._sets: dict[Known, Labelled] = {
            "same": mine,
            "other": parts.train.take(order[half:]),
            "noise": Labelled(noise.clamp(0, 1), mine.labels),
        }
        self._secret = parts.test.images[: plan.images]
        self._classes = max(2, data.classes)
        self._network = _network(plan, self._classes, mine, kept)
        device, server = self._device(plan.cuts[0]), tail(self._network, plan.cuts[0])
        self._accuracy = accuracy(device, server, parts.test)

    def row(self, cut: str, setting: str, named: Raw) -> InversionSettingRow:
        """Run one setting at one cut, and score it."""
        started = time.process_time()
        found = self._found(cut, setting)
        seconds = time.process_time() - started
        psnr = scores.mean(scores.psnr_db(found, self._secret))
        ssim = scores.mean(scores.ssim(found, self._secret))
        paper_psnr_db, paper_ssim = paper(setting, cut)
        return InversionSettingRow(
            **named,
            psnr_db=psnr.value,
            psnr_db_plus_minus=psnr.plus_minus,
            ssim=ssim.value,
            ssim_plus_minus=ssim.plus_minus,
            images=len(self._secret),
            task_accuracy=self._accuracy,
            cpu_s=round(seconds, 1),
            paper_psnr_db=paper_psnr_db,
            paper_ssim=paper_ssim,
        )

    def _found(self, cut: str, setting: str) -> torch.Tensor:
        plan, asked = self._plan, SETTINGS[setting]
        # Not the network's own seed: a shadow that begins with its very weights comes too close.
        generator = torch.Generator().manual_seed(int.from_bytes(_key(plan.seed, b"draws")[:7]))
        sent, known = self._device(cut).send(self._secret), self._sets[asked.known]
        black = BlackBoxView(sent, self._device(cut).send, known)
        if asked.kind == "white-box":
            return self._searched(sent, head(self._network, cut), cut, generator)
        if asked.kind == "black-box":
            return black_box(black, plan.decoder(cut), generator=generator)
        shadow = plan.shadow(cut, self._classes, other_net=asked.other_net)
        if asked.kind == "shadow-queried":
            return self._searched(
                sent, imitation(black, shadow, generator=generator), cut, generator
            )
        blind = QueryFreeView(sent, tail(self._network, cut), known)
        return query_free(blind, shadow, generator=generator)

    def _searched(
        self, sent: torch.Tensor, layers: nn.Sequential, cut: str, generator: torch.Generator
    ) -> torch.Tensor:
        _, channels, height, width = self._secret.shape
        white = WhiteBoxView(sent, layers, (channels, height, width), Defence())
        return white_box(white, self._plan.search(cut), generator=generator)

    def _device(self, cut: str) -> Device:
        return Device(head(self._network, cut), Defence(), _key(self._plan.seed, b"device"))


def _network(plan: Plan, classes: int, mine: Labelled, kept: Path | None) -> nn.Sequential:
    """Return the network of the file `kept`, or train it and keep it there."""
    training = TrainSettings(epochs=plan.times(plan.epochs), seed=plan.seed)
    told = {"training": asdict(training), "images": _digest(mine)}
    if kept is not None and kept.exists():
        part = model_file.read(kept, _PART)
        if part.described.get("trained") == told:
            return part.fill(lambda spec, _: build(spec))
    spec = preset(plan.network, classes)
    trainee = Trainee(spec, spec.cuts[0], Defence(), _key(plan.seed, b"device"))
    network = train(trainee, mine, training).requires_grad_(False)
    if kept is not None:
        described = {"part": _PART, "spec": json.loads(spec.to_json()), "cut": spec.cuts[0]}
        model_file.write(kept, described | {"trained": told}, network, build(spec))
    return network


def _digest(data: Labelled) -> str:
    digest = hashlib.sha256(data.images.numpy().tobytes())
    digest.update(data.labels.numpy().tobytes())
    return digest.hexdigest()


def _key(seed: int, whose: bytes) -> bytes:
    # An experiment's key hides nothing from anybody: it must be repeatable, as its seed is.
    return hashlib.sha256(b"inversion %s %d" % (whose, seed)).digest()
