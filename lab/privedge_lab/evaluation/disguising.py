"""What disguising costs and what it gives away, measured, also by adversaries who adapt.

One row for each attack on each disguise; rows of known pairs have `pairs`, those of a smaller
training set `training_images`. Keys are derived from the seed, so that a run can be repeated; noise
is fresh, as always.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from privedge.errors import ConfigError
from privedge.progress import Progress
from privedge_lab import outputs
from privedge_lab.attacks import scores
from privedge_lab.attacks.disguising import (
    codebook,
    known_pairs,
    leaks,
    membership,
    reidentification,
    restoration,
)
from privedge_lab.attacks.views import DisguisedNetworkView, KnownPairsView
from privedge_lab.datasets import Labelled
from privedge_lab.disguise.blocks import grid
from privedge_lab.disguise.settings import Aes, Rmt, Settings
from privedge_lab.evaluation import sheets
from privedge_lab.evaluation.disguising_bench import DISGUISES, Bench, Case, Plan
from privedge_lab.results.rows.disguising import DisguisingRow
from privedge_lab.results.rows.values import Raw
from privedge_lab.results.store import Results

EXPERIMENT = "disguising"
_SHOWN = 12
# Known pairs where a few are shown beside all.
_FEW = 10


def measure(
    plan: Plan, data: Labelled, results: Results, folder: Path, progress: Progress
) -> Iterator[DisguisingRow]:
    """Rows that `results` does not have yet; in the end NAME.png is drawn for each disguise.

    `progress` is told before each row. Raises as training does, and ConfigError for a NAME.png that
    is there and is none of privedge, or a size that the training part does not have.
    """
    pictures = {name: folder / f"{name}.png" for name in plan.disguises}
    for path in pictures.values():
        outputs.require_replaceable(path, outputs.PICTURE)
    bench = Bench(data, plan)
    if max(plan.sizes, default=0) > len(bench.parts.train):
        raise ConfigError(f"sizes: the training part has {len(bench.parts.train)} images")
    tasks = [(name, *task) for name in plan.disguises for task in _tasks(DISGUISES[name], plan)]
    case: Case | None = None
    for done, (name, extra, run) in enumerate(tasks):
        configuration = {"disguise": name, **extra, "seed": plan.seed}
        progress(f"{name}: {extra['attack']}", done, len(tasks))
        if results.find(configuration) is not None:
            continue
        settings = DISGUISES[name]
        if case is None or case.sized.settings != settings:
            case = Case(bench, settings)
        row = DisguisingRow(**configuration, **run(case))
        results.add(row.to_json())
        yield row
    for name, path in pictures.items():
        _draw(Case(bench, DISGUISES[name]), path)
    progress("done", len(tasks), len(tasks))


# The figures of a row.
_Run = Callable[[Case], Raw]


def _tasks(settings: Settings, plan: Plan) -> list[tuple[Raw, _Run]]:
    """What is measured of one disguise, each with what names its row."""
    tasks: list[tuple[Raw, _Run]] = [
        ({"attack": "membership"}, _training),
        ({"attack": "visual"}, _visual),
        ({"attack": "adaptive"}, _adaptive),
        ({"attack": "adaptive-network"}, _adaptive_network),
    ]
    tasks += [({"attack": "size", "training_images": size}, _size(size)) for size in plan.sizes]
    with_pairs = _codebook if isinstance(settings, Aes) else _regression
    name = "codebook" if isinstance(settings, Aes) else "regression"
    if not isinstance(settings, Aes) and settings.noise == 0:
        for precision in ("float64", "float32"):
            tasks.append(({"attack": "full-rank", "precision": precision}, _full_rank(precision)))
    tasks += [({"attack": name, "pairs": count}, with_pairs(count)) for count in plan.pairs]
    if isinstance(settings, Aes) or settings.noise:
        for count in sorted({min(_FEW, max(plan.pairs)), max(plan.pairs)}):
            tasks.append(({"attack": "restored", "pairs": count}, _restored(count)))
    return tasks


def _training(case: Case) -> Raw:
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


def _visual(case: Case) -> Raw:
    found = reidentification.visual(case.view(), case.bench.plain)
    return _guessed(found, case.bench.parts.test.labels)


def _adaptive(case: Case) -> Raw:
    found = reidentification.adaptive(case.view(), case.bench.plan.seed)
    return _guessed(found, case.bench.parts.test.labels)


def _adaptive_network(case: Case) -> Raw:
    found = reidentification.adaptive_network(case.view(), case.bench.plan.seed)
    return _guessed(found, case.bench.parts.test.labels)


def _size(size: int) -> _Run:
    """What the disguise costs a network that learns from so many images."""

    def run(case: Case) -> Raw:
        bench, data = case.bench, case.bench.of_size(size)
        hidden = Labelled(case.mine.apply(data.images), data.labels)
        plain, reached = bench.plain_of_size(size), bench.accuracy(bench.learn(hidden), case.sent)
        return {
            "task_accuracy": reached,
            "plain_accuracy": plain,
            "loss_points": 100 * (plain - reached),
        }

    return run


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

    def run(case: Case) -> Raw:
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
    def run(case: Case) -> Raw:
        view = case.pairs(count)
        key = known_pairs.regress(view)
        found = known_pairs.recover(key, view.disguised).float()
        known = float(key.ranks.double().mean()) / view.sized.settings.block
        return {"known_directions": known} | _recovered(found, case.truth())

    return run


def _codebook(count: int) -> _Run:
    def run(case: Case) -> Raw:
        found = codebook.codebook(case.pairs(count))
        dark = (grid(case.sized).cut(case.truth()) == 0).all(-1).all(-1)
        return {
            "hit_rate": float(found.hits.double().mean()),
            "hit_rate_foreground": float(found.hits[~dark].double().mean()),
        } | _recovered(found.images, case.truth())

    return run


def _restored(count: int) -> _Run:
    def run(case: Case) -> Raw:
        public = case.bench.parts.train.images[count:]
        found = restoration.restored(case.pairs(count), _read, public, seed=case.bench.plan.seed)
        return _recovered(found, case.truth())

    return run


def _read(view: KnownPairsView) -> torch.Tensor:
    """Recover images by the attack on known pairs that fits the disguise."""
    if isinstance(view.sized.settings, Aes):
        return codebook.codebook(view).images
    return known_pairs.recover(known_pairs.regress(view), view.disguised).float()


def _recovered(found: torch.Tensor, truth: torch.Tensor) -> Raw:
    psnr, ssim = scores.mean(scores.psnr_db(found, truth)), scores.mean(scores.ssim(found, truth))
    return {
        "psnr_db": psnr.value,
        "psnr_95": psnr.plus_minus,
        "ssim": ssim.value,
        "ssim_95": ssim.plus_minus,
        "images": psnr.count,
    }


def _draw(case: Case, path: Path) -> None:
    """Originals, disguised, and recovered from 10 and from all known pairs; for AES silhouettes."""
    least, most = _FEW, max(case.bench.plan.pairs)
    few, many = case.pairs(least), case.pairs(most)
    if isinstance(case.sized.settings, Aes):
        cells = grid(case.sized)
        dark = leaks.background(
            cells.cut_disguised(case.sent), one_key=case.sized.settings.keys == "one"
        )
        silhouettes = cells.join((~dark).float()[..., None, None])
        found = [
            ("silhouettes", silhouettes),
            (f"{most} known pairs", _read(many)),
        ]
    else:
        found = [
            (f"{count} known pairs", _read(view)) for count, view in ((least, few), (most, many))
        ]
    truth = case.truth()
    shown = min(_SHOWN, len(truth))
    rows = [("original", truth), ("disguised", case.sent), *found]
    sheets.save(sheets.captioned([(name, images[:shown]) for name, images in rows]), path)
