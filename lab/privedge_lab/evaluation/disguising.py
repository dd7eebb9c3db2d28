"""What disguising costs and what it gives away, measured, also by adversaries who adapt.

One row for each attack on each disguise; rows of known pairs have `pairs`. Keys are derived from
the seed, so that a run can be repeated; noise is fresh, as always.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from privedge.progress import Progress
from privedge_lab import outputs
from privedge_lab.attacks import scores
from privedge_lab.attacks.disguising import (
    codebook,
    known_pairs,
    leaks,
    membership,
    reidentification,
)
from privedge_lab.attacks.views import DisguisedNetworkView, DisguisedView, KnownPairsView
from privedge_lab.baseline.shifts import with_shifts
from privedge_lab.datasets import Labelled, TrainTest, split
from privedge_lab.disguise import learning
from privedge_lab.disguise.blocks import grid
from privedge_lab.disguise.disguise import Disguise
from privedge_lab.disguise.keys import DisguiseKey
from privedge_lab.disguise.settings import Aes, Permutation, Rmt, Settings, Sized
from privedge_lab.evaluation import sheets
from privedge_lab.results.rows.disguising import DisguisingRow
from privedge_lab.results.rows.values import Raw
from privedge_lab.results.store import Results

EXPERIMENT = "disguising"
DISGUISES: dict[str, Settings] = {
    "rmt": Rmt(),
    "rmt-projection": Rmt(matrix="projection"),
    "rmt-noise": Rmt(noise=0.25),
    "permutation": Permutation(),
    "aes": Aes(),
}
PAIRS = (1, 5, 10, 15, 20, 25, 30, 35, 50, 75, 100)
_SHOWN = 12


@dataclass(frozen=True)
class Plan:
    """How much to measure: `images` disguised images are attacked, at least 200."""

    seed: int = 0
    epochs: int = 3
    shifts: int = 3
    images: int = 300
    pairs: tuple[int, ...] = PAIRS
    disguises: tuple[str, ...] = tuple(DISGUISES)


class _Bench:
    """One data set under one plan; what is costly is made when a row needs it."""

    def __init__(self, data: Labelled, plan: Plan) -> None:
        self.plan = plan
        self.parts: TrainTest = split(data, seed=plan.seed)
        self.image = (data.images.shape[1], data.images.shape[2], data.images.shape[3])
        generator = torch.Generator().manual_seed(plan.seed)
        self.training = with_shifts(self.parts.train, plan.shifts, generator)

    @cached_property
    def plain(self) -> nn.Sequential:
        """The same network, trained on the same images as they are."""
        return self.learn(self.training)

    def learn(self, data: Labelled) -> nn.Sequential:
        return learning.learn(data, learning.training(self.plan.epochs, self.plan.seed))[1]

    def accuracy(self, network: nn.Sequential, images: torch.Tensor) -> float:
        return _share(learning.answer(network, images), self.parts.test.labels)


class _Case:
    """One disguise of the bench's data set."""

    def __init__(self, bench: _Bench, settings: Settings) -> None:
        self.bench = bench
        self.sized = Sized(settings=settings, image=bench.image)
        secret = hashlib.sha256(f"privedge disguising {bench.plan.seed}".encode()).digest()
        self.mine = Disguise(DisguiseKey(self.sized, secret))
        self.sent = self.mine.apply(bench.parts.test.images)

    def view(self) -> DisguisedView:
        return DisguisedView(self.sent, self.sized, self.bench.parts.train)

    def pairs(self, count: int) -> KnownPairsView:
        known = self.bench.parts.train.images[:count]
        sent = self.sent[: self.bench.plan.images]
        return KnownPairsView(sent, self.sized, known, self.mine.apply(known))

    def truth(self) -> torch.Tensor:
        return self.bench.parts.test.images[: self.bench.plan.images]


def measure(
    plan: Plan, data: Labelled, results: Results, folder: Path, progress: Progress
) -> Iterator[DisguisingRow]:
    """Rows that `results` does not have yet; in the end NAME.png is drawn for each disguise.

    `progress` is told before each row. Raises as training does, and ConfigError for a NAME.png that
    is there and is none of privedge.
    """
    pictures = {name: folder / f"{name}.png" for name in plan.disguises}
    for path in pictures.values():
        outputs.require_replaceable(path, outputs.PICTURE)
    bench = _Bench(data, plan)
    tasks = [(name, *task) for name in plan.disguises for task in _tasks(DISGUISES[name], plan)]
    case: _Case | None = None
    for done, (name, extra, run) in enumerate(tasks):
        configuration = {"disguise": name, **extra, "seed": plan.seed}
        progress(f"{name}: {extra['attack']}", done, len(tasks))
        if results.find(configuration) is not None:
            continue
        settings = DISGUISES[name]
        if case is None or case.sized.settings != settings:
            case = _Case(bench, settings)
        row = DisguisingRow(**configuration, **run(case))
        results.add(row.to_json())
        yield row
    for name, path in pictures.items():
        _draw(_Case(bench, DISGUISES[name]), path)
    progress("done", len(tasks), len(tasks))


# The figures of a row.
_Run = Callable[[_Case], Raw]


def _tasks(settings: Settings, plan: Plan) -> list[tuple[Raw, _Run]]:
    """What is measured of one disguise, each with what names its row."""
    tasks: list[tuple[Raw, _Run]] = [
        ({"attack": "membership"}, _training),
        ({"attack": "visual"}, _visual),
        ({"attack": "adaptive"}, _adaptive),
    ]
    with_pairs = _codebook if isinstance(settings, Aes) else _regression
    name = "codebook" if isinstance(settings, Aes) else "regression"
    if not isinstance(settings, Aes) and settings.noise == 0:
        for precision in ("float64", "float32"):
            tasks.append(({"attack": "full-rank", "precision": precision}, _full_rank(precision)))
    tasks += [({"attack": name, "pairs": count}, with_pairs(count)) for count in plan.pairs]
    return tasks


def _training(case: _Case) -> Raw:
    """Accuracy with and without the disguise, and class membership on the network trained with."""
    bench, training = case.bench, case.bench.training
    hidden = Labelled(case.mine.apply(training.images), training.labels)
    network = bench.learn(hidden)
    plain = bench.accuracy(bench.plain, bench.parts.test.images)
    reached = bench.accuracy(network, case.sent)
    view = DisguisedNetworkView(network, case.sized, bench.parts.test)
    found = membership.membership(view)
    return {
        "task_accuracy": reached,
        "plain_accuracy": plain,
        "loss_points": 100 * (plain - reached),
        "entropy": sum(found.entropy) / len(found.entropy),
        "least_entropy": min(found.entropy),
        "fano": sum(found.fano) / len(found.fano),
        "accuracy": found.accuracy,
    }


def _visual(case: _Case) -> Raw:
    found = reidentification.visual(case.view(), case.bench.plain)
    return _guessed(found, case.bench.parts.test.labels)


def _adaptive(case: _Case) -> Raw:
    found = reidentification.adaptive(case.view(), case.bench.plan.seed)
    return _guessed(found, case.bench.parts.test.labels)


def _guessed(found: torch.Tensor, truth: torch.Tensor) -> Raw:
    reached = scores.accuracy(found, truth)
    return {
        "accuracy": reached.value,
        "accuracy_95": reached.plus_minus,
        "majority": scores.majority_rate(truth),
        "images": reached.count,
    }


def _full_rank(precision: str) -> _Run:
    """As few made-up pairs of uniform noise as tell key and permutation, in one precision."""
    dtype = {"float32": torch.float32, "float64": torch.float64}[precision]

    def run(case: _Case) -> Raw:
        settings = case.sized.settings
        # Any matrix fits one pair, wherever its block went, unless it must be orthogonal.
        several = settings.shuffle and isinstance(settings, Rmt) and settings.matrix == "projection"
        generator = torch.Generator().manual_seed(case.bench.plan.seed)
        shape = (2 if several else 1, *case.bench.image)
        known = torch.randint(256, shape, generator=generator).to(dtype) / 255
        truth = case.truth().to(dtype)
        view = KnownPairsView(case.mine.apply(truth), case.sized, known, case.mine.apply(known))
        found = known_pairs.recover(known_pairs.regress(view), view.disguised)
        return {"pairs": len(known), "error": float((found - truth).abs().max())}

    return run


def _regression(count: int) -> _Run:
    def run(case: _Case) -> Raw:
        view = case.pairs(count)
        key = known_pairs.regress(view)
        found = known_pairs.recover(key, view.disguised).float()
        known = float(key.ranks.double().mean()) / view.sized.settings.block
        return {"known_directions": known} | _recovered(found, case.truth())

    return run


def _codebook(count: int) -> _Run:
    def run(case: _Case) -> Raw:
        found = codebook.codebook(case.pairs(count))
        dark = (grid(case.sized).cut(case.truth()) == 0).all(-1).all(-1)
        return {
            "hit_rate": float(found.hits.double().mean()),
            "hit_rate_foreground": float(found.hits[~dark].double().mean()),
        } | _recovered(found.images, case.truth())

    return run


def _recovered(found: torch.Tensor, truth: torch.Tensor) -> Raw:
    psnr, ssim = scores.mean(scores.psnr_db(found, truth)), scores.mean(scores.ssim(found, truth))
    return {
        "psnr_db": psnr.value,
        "psnr_95": psnr.plus_minus,
        "ssim": ssim.value,
        "ssim_95": ssim.plus_minus,
        "images": psnr.count,
    }


def _draw(case: _Case, path: Path) -> None:
    """Originals, disguised, and recovered from 10 and from all known pairs; for AES silhouettes."""
    least, most = 10, max(case.bench.plan.pairs)
    few, many = case.pairs(least), case.pairs(most)
    if isinstance(case.sized.settings, Aes):
        cells = grid(case.sized)
        dark = leaks.background(
            cells.cut_disguised(case.sent), one_key=case.sized.settings.keys == "one"
        )
        silhouettes = cells.join((~dark).float()[..., None, None])
        found = [
            ("silhouettes", silhouettes),
            (f"{most} known pairs", codebook.codebook(many).images),
        ]
    else:
        found = [
            (
                f"{count} known pairs",
                known_pairs.recover(known_pairs.regress(view), view.disguised).float(),
            )
            for count, view in ((least, few), (most, many))
        ]
    truth = case.truth()
    shown = min(_SHOWN, len(truth))
    rows = [("original", truth), ("disguised", case.sent), *found]
    sheets.save(sheets.captioned([(name, images[:shown]) for name, images in rows]), path)


def _share(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float((found == truth).double().mean())
