"""Small results, stored as the experiments store them. The figures are made up and are all alike in
shape to real ones; tests say which of them must come out where.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from privedge_lab.results.store import Results

COMMAND = "privedge evaluate identify --data letters.npz --out DIR"
IDENTIFY = {
    "data": "letters.npz",
    "data_sha256": "ab",
    "owners": None,
    "part": "test",
    "group": None,
    "where": None,
    "preset": "subspace32",
    "components": None,
    "steps": None,
    "engine": "plain",
    "baselines": ["knn", "cnn"],
    "queries": 100,
    "words": 0,
}


def identified(seed: int, recall: float, cnn: float | None, knn: float | None) -> dict[str, Any]:
    """A row of two owners, ana and bob; bob's images are mistaken for ana's."""
    named = (("cnn", cnn), ("knn", knn))
    baselines = {
        name: {"macro_precision": value, "macro_recall": value, "accuracy": value}
        for name, value in named
        if value is not None
    }
    return {
        "seed": seed, "preset": "subspace32", "owners": 2, "trained_on": 40, "asked": 10,
        "macro_precision": recall, "macro_recall": recall, "accuracy": recall, "top3": 1.0,
        "per_owner": [
            {"owner": "ana", "precision": 0.714, "recall": 1.0, "asked": 5, "answered": 7},
            {"owner": "bob", "precision": 1.0, "recall": 0.6, "asked": 5, "answered": 3},
        ],
        "confusion": [[5, 0, 0], [2, 3, 0]],
        "auroc_known": 0.81, "known": {"auroc_best": 0.7},
        "agreement": {"fixed_plain": 1.0, "queries": 10},
        "baselines": baselines, "bytes_per_query": None, "seconds_per_query": None,
    }  # fmt: skip


def store(path: Path, experiment: str, settings: dict, rows: list, command: str | None = None):
    """A results file with these rows; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    results = Results(experiment, settings, path, command=command)
    for row in rows:
        results.add(row)
    return path


def identify(folder: Path, **settings: Any) -> Path:
    """Two seeds of letters; the pooled network was trained for seed 0 only."""
    rows = [identified(0, 0.8, 0.9, 0.3), identified(1, 0.7, None, 0.4)]
    return store(folder / "identify.json", "identify", IDENTIFY | settings, rows, COMMAND)


def inversion(attack: str, defence: str, strength: float, psnr: float, accuracy: float):
    """A row of `attack table` at relu2; SSIM goes with PSNR."""
    return {
        "attack": attack, "cut": "relu2", "defence": defence, "strength": strength, "seed": 0,
        "psnr_db": psnr, "psnr_db_plus_minus": 0.2, "ssim": psnr / 30, "ssim_plus_minus": 0.01,
        "images": 200, "task_accuracy": accuracy, "cpu_s": 1.0,
    }  # fmt: skip


def everything(folder: Path) -> Path:
    """One results file of every experiment that the report knows, and pictures beside two."""
    identify(folder / "letters")
    _conditions(folder)
    _adversaries(folder)
    bench = {
        "engine": "fused", "preset": "subspace32", "owners": 10, "batch": 1, "queries": 20,
        "median_s": 0.028, "online_s": 0.02, "rounds": 17, "bytes_per_party": 19000,
        "dealer_bytes_per_party": 50000, "cpu_s": 0.1, "agreement": 1.0, "rtt_ms": 0.0,
    }  # fmt: skip
    (folder / "bench.json").write_text(json.dumps({"engines": [bench]}))
    return folder


def _conditions(folder: Path) -> None:
    data = {"data": "letters.npz"}
    levels = [("none", 0), ("jpeg", 90), ("jpeg", 20), ("blur", 1.5)]
    rows = [
        {
            "seed": seed,
            "disturbance": kind,
            "level": level,
            "macro_recall": 0.8 - 0.01 * at - 0.01 * seed,
            "accuracy": 0.8,
            "auroc_known": 0.8,
            "baselines": {"knn": {"macro_recall": 0.3}},
        }
        for seed in (0, 1)
        for at, (kind, level) in enumerate(levels)
    ]
    store(folder / "robustness.json", "robustness", data, rows)
    mixed = {"macro_recall": 0.55, "same": {"macro_recall": 0.56}}
    store(folder / "bias.json", "bias", data, [
        *({"seed": 0, "bias": "images", "value": value, "owners": 2, "trained_on": 40,
           "macro_recall": recall, "accuracy": recall, "baselines": {}, "same": None,
           "mixed": None} for value, recall in ((5, 0.4), (20, 0.6), (None, 0.8))),
        {"seed": 0, "bias": "page", "value": 1, "owners": 2, "trained_on": 20,
         "macro_recall": 0.31, "accuracy": 0.3, "baselines": {"knn": {"macro_recall": 0.02}},
         "same": {"macro_recall": 0.77}, "mixed": mixed},
    ])  # fmt: skip
    store(folder / "scale.json", "scale", data, [
        {"seed": 0, "owners": owners, "macro_recall": 1 - owners / 100, "accuracy": 0.9,
         "auroc_known": 0.8, "chance": 1 / owners,
         "private": {"online_s": 0.002 + 0.01 * owners, "offline_cpu_s": 0.1,
                     "bytes_per_query": 1000 * owners, "seconds_per_query": 0.03,
                     "agreement": 0.99, "rounds": 17, "queries": 5}}
        for owners in (5, 10, 20, 50)
    ])  # fmt: skip
    store(folder / "fairness.json", "fairness", data, [
        {"seed": 0, "thief": thief, "components": 32, "calibration": calibration,
         "steal_rate": stolen, "macro_recall": 0.7, "audit_refused_share": 1.0,
         "win_rates": {"most_won_over_asked": 1.5}, "audit_refused": thief == "identity"}
        for thief, calibration, stolen in (("identity", "none", 0.99), ("identity", "ratio", 0.02))
    ])  # fmt: skip
    store(folder / "original.json", "original", data | {"network": "paper"}, [
        *({"seed": 0, "owner": "ana", "point": at, "step": step, "seconds": step * 2.0,
           "loss": 1 / step, "validation_error": 2 / step} for at, step in enumerate((1, 10, 100))),
        *({"seed": 0, "point": at, "seconds_each": 30.0 * at, "macro_recall": 0.5 + 0.05 * at,
           "accuracy": 0.6} for at in (1, 2)),
        {"seed": 0, "final": True, "preset": "paper", "seconds_each": 60.0, "macro_recall": 0.62,
         "macro_precision": 0.64, "accuracy": 0.62, "published_steps": 30000,
         "published_batch": 128, "baselines": {"pca": {"macro_recall": 0.83}}},
    ])  # fmt: skip


def _adversaries(folder: Path) -> None:
    data = {"data": "mnist.npz"}
    store(folder / "party.json", "party", data | {"owners": 2}, [
        {"attack": "linear", "preset": "subspace32", "party": party, "reading": "image share",
         "encoding": "value", "seed": 0, "queries": 300, "psnr_db": 12.2, "plus_minus": 0.1,
         "mean_image_psnr_db": 12.2, "sigmas": sigmas}
        for party, sigmas in (("0", 1.7), ("1", -0.4), ("both", 43.0))
    ])  # fmt: skip
    store(folder / "membership.json", "membership", data, [
        {"experiment": "membership", "preset": "subspace32", "members": 100, "seed": 0,
         "attack": "copies", "auc": 0.557, "auc_plus_minus": 0.036,
         "advantage": 0.066, "advantage_plus_minus": 0.061}
    ])  # fmt: skip
    table = folder / "attacks" / "table.json"
    store(table, "attack table", data | {"images": 200, "seed": 0}, [
        inversion("mean-image", "none", 0.0, 11.8, 0.98),
        inversion("black-box", "none", 0.0, 25.5, 0.98),
        inversion("white-box", "none", 0.0, 16.6, 0.98),
        inversion("black-box", "dropping", 0.5, 17.0, 0.975),
        inversion("black-box", "dropping", 0.9, 13.3, 0.90),
    ])  # fmt: skip
    picture(table.parent / "sheet-relu2.png")
    store(folder / "att.json", "attributes", {"data": "faces.npz", "private": "gender"}, [
        {"private": "gender", "preset": "face", "cut": "relu2", "defence": "none", "strength": 0.0,
         "seed": 0, "attack": "attribute", "accuracy": 0.856, "majority": 0.519,
         "floor_accuracy": 0.538, "task_accuracy": 0.706}
    ])  # fmt: skip
    store(folder / "settings.json", "inversion", data | {"network": "cifar"}, [
        {"setting": setting, "network": "cifar", "cut": "conv11", "seed": 0, "psnr_db": psnr,
         "psnr_db_plus_minus": 0.3, "ssim": 0.99, "ssim_plus_minus": 0.01, "images": 50,
         "task_accuracy": 0.6, "cpu_s": 9.0, "paper_psnr_db": theirs, "paper_ssim": 0.996}
        for setting, psnr, theirs in (("white-box", 36.4, 37.59), ("black-box-noise", 47.7, 48.59))
    ])  # fmt: skip
    store(folder / "signals.json", "signals", {"attacked": 200}, [
        {"task": "ecg", "network": "dense", "strength": strength, "attack": "prior", "seed": 0,
         "repeat": "per-input", "inputs": 128, "outputs": 256, "kept": kept, "holds": holds,
         "measure": "accuracy", "quality": 0.93, "signals": 200, "psnr_db": psnr,
         "psnr_db_plus_minus": 0.4, "correlation": 0.83, "correlation_plus_minus": 0.02,
         "device_us": 81.0, "sent_bytes": 1024, "signal_bytes": 512, "head_bytes": 132096,
         "multiplications": 32768}
        for strength, kept, holds, psnr in ((0.0, 256, False, 100.0), (0.8, 51, True, 24.5))
    ])  # fmt: skip
    disguised = folder / "disguised" / "disguising.json"
    store(disguised, "disguising", data, [
        {"disguise": "rmt", "attack": "membership", "seed": 0, "task_accuracy": 0.975,
         "plain_accuracy": 0.99},
        {"disguise": "rmt", "attack": "visual", "seed": 0, "accuracy": 0.12, "majority": 0.1},
        {"disguise": "rmt", "attack": "adaptive", "seed": 0, "accuracy": 0.956, "majority": 0.1},
        *({"disguise": "rmt", "attack": "regression", "pairs": pairs, "seed": 0,
           "psnr_db": 17.0 + pairs, "psnr_95": 0.3, "ssim": 0.9} for pairs in (1, 10, 50)),
        {"disguise": "rmt", "attack": "adaptive-network", "seed": 0, "accuracy": 0.94,
         "majority": 0.1},
        {"disguise": "rmt", "attack": "restored", "pairs": 50, "seed": 0, "psnr_db": 70.0},
        *({"disguise": "rmt", "attack": "size", "training_images": size, "seed": 0,
           "task_accuracy": 0.9 + size / 1e5, "plain_accuracy": 0.95} for size in (500, 2000)),
    ])  # fmt: skip
    picture(disguised.parent / "rmt.png")


def picture(path: Path, size: tuple[int, int] = (64, 40)) -> Path:
    """A PNG of soft noise."""
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path
