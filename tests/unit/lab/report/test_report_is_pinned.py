"""A page of stored results, byte for byte as it is kept in tests/golden/report.

Whatever changes inside, results that somebody stored are shown as before. A wanted change of the
page changes the file: write it again with

    PRIVEDGE_WRITE_PAGE=1 pytest -k pinned
"""

import json
import os
import re
from pathlib import Path

import made_results

from privedge_lab.report import page, reader

TESTS = next(folder for folder in Path(__file__).parents if folder.name == "tests")
GOLDEN = TESTS / "golden" / "report" / "page.html"
# How a picture is packed depends on the libraries that pack it, and not on this program.
PACKED = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+")
VERSION = re.compile(r"(<code>privedge report</code>) \S+\.")


def test_a_page_of_stored_results_is_pinned(tmp_path):
    raw = page.render(reader.read([stored(tmp_path / "results")]), "A report").html.decode()
    shown = VERSION.sub(r"\1 VERSION.", PACKED.sub("PICTURE", raw))
    if os.environ.get("PRIVEDGE_WRITE_PAGE"):
        GOLDEN.parent.mkdir(parents=True, exist_ok=True)
        GOLDEN.write_text(shown, encoding="utf-8")
    assert shown == GOLDEN.read_text(encoding="utf-8")


def stored(folder: Path) -> Path:
    """Results of every experiment, and what files of others or of older versions may hold."""
    made_results.everything(folder)
    _identified(folder / "more")
    _cut(folder / "more")
    _benched(folder / "more")
    _foreign(folder / "foreign")
    return folder


def _identified(folder: Path) -> None:
    row = made_results.identified(0, 0.75, 0.9, 0.3)
    deployed = {"agreement": {"fixed_plain": 0.99, "fused_fixed": 1.0, "queries": 10}}
    deployed |= {"bytes_per_query": 41_000, "seconds_per_query": 0.031}
    voted = {"voting": {"asked": 4, "macro_precision": 0.9, "macro_recall": 0.95, "accuracy": 0.9}}
    made_results.identify(
        folder / "validation", part="validation", group="document", words=5, components=16
    )
    made_results.store(
        folder / "fused.json", "identify", made_results.IDENTIFY | {"engine": "fused", "words": 5},
        [row | deployed | voted, made_results.identified(2, 0.7, None, None) | {"asked": 100}],
    )  # fmt: skip
    several = {"none": 0.05, "pooled": 0.6, "identity": 0.99}
    made_results.store(folder / "fairness.json", "fairness", {"data": "faces.npz"}, [
        {"seed": seed, "thief": thief, "calibration": calibration, "owners": 5, "tries": 2,
         "components": 32, "admitted": thief != "identity", "steal_rate": stolen / (1 + seed),
         "macro_recall": 0.7, "win_rates": {"most_won_over_asked": 1.5}, "audit_ratio": 0.5,
         "audit_refused": thief == "identity", "audit_refused_honest": 0.1}
        for seed in (0, 1) for thief, stolen in several.items() for calibration in ("none", "z")
    ])  # fmt: skip


def _cut(folder: Path) -> None:
    """A sweep over two cuts with a private fact, and both parts of a partitioning."""
    settings = {"data": "faces.npz", "network": "small", "private": "gender", "repeat": "fresh"}
    rows = []
    for cut, psnr in (("relu2", 14.0), ("conv1", 24.0)):
        for defence, strength, lost in (("none", 0.0, 0.0), ("gaussian", 0.5, 3.0)):
            common = {"cut": cut, "defence": defence, "strength": strength, "seed": 0,
                      "images": 20, "task_accuracy": 0.97 - lost / 100, "learned": {}}  # fmt: skip
            rows.append({"attack": "white-box"} | common | {
                "psnr_db": psnr - lost, "psnr_db_plus_minus": 0.4, "ssim": (psnr - lost) / 30,
                "ssim_plus_minus": 0.01, "mean_image_psnr_db": 11.5, "mean_image_ssim": 0.2,
            })  # fmt: skip
            rows.append({"attack": "attribute"} | common | {
                "private": "gender", "attacker": "small", "attacker_accuracy": 0.8 - lost / 50,
                "attacker_plus_minus": 0.02, "majority": 0.52,
            })  # fmt: skip
    made_results.store(folder / "sweep.json", "sweep", settings | {"asked": 16}, rows, "a sweep")
    made_results.picture(folder / "sweep.png")
    for part in ("validation", "test"):
        made_results.store(
            folder / f"{part}.json", "partitioning",
            {"data": "faces.npz", "private": "gender", "network": "face-guess", "cut": "guess",
             "part": part, "task": "age > 35"},
            [{"defence": "partitioning" if strength else "none", "strength": strength,
              "seed": seed, "images": 90, "task_accuracy": 0.75 - strength / 20, "attacker": "deep",
              "attacker_accuracy": 0.8 - strength / 4, "attacker_accuracy_hindsight": 0.81,
              "floor_accuracy": 0.55, "majority": 0.52}
             for seed in (0, 1) for strength in (0.0, 0.65)],
        )  # fmt: skip


def _benched(folder: Path) -> None:
    party = {"queue_s": 0.0, "load_s": 0.001, "online_s": 0.02, "bytes_to_peer": 9000,
             "bytes_from_dealer": 70}  # fmt: skip
    query = {
        "engine": "crypten", "preset": "conv32", "owners": 1, "batch": 4, "queries": 5,
        "cold_s": None, "median_s": None, "p95_s": None, "wall_s": None, "online_s": 0.25,
        "online_p95_s": 0.3, "offline_s": None, "rounds": 90, "phases": [], "parties": [party] * 2,
        "bytes_per_party": 1_900_000, "dealer_bytes_per_party": 0, "offline_cpu_s": 0.0,
        "cpu_s": 0.5, "client_cpu_s": None, "cpu_by_process_s": {"dealer": 0.1}, "agreement": 0.95,
        "agreeing": 19, "ties": 1, "differing": 0, "pool": "empty", "rtt_ms": 20.5, "ratio": 12.5,
    }  # fmt: skip
    printed = {
        "query": {"engines": [query, query | {"engine": "fused", "pool": None, "median_s": 0.5}]},
        "throughput": {"throughput": [
            {"engine": "fused", "preset": "conv32", "owners": 40, "clients": 8, "seconds": 20.0,
             "batching_delay_ms": None, "queries": 900, "queries_per_s": 45.0, "median_s": 0.17,
             "p95_s": 0.2, "cpu_s": 0.04, "client_cpu_s": 0.01,
             "cpu_by_process_s": {"dealer": 0.01}, "agreement": 1.0}
        ]},
        "upload": {"uploads": [
            {"preset": "paper", "repeats": 5, "share_mb": 120.5, "one_party_mb_s": 150.0,
             "both_mb_s": 200.0, "whole_s": 1.5}
        ]},
        "memory": {"deployments": [
            {"preset": "conv32", "owners": 10,
             "at_rest": [{"process": "dealer", "rss_mb": 90.0, "uss_mb": 50.0}],
             "after_a_query": [{"process": "dealer", "rss_mb": 95.0, "uss_mb": 52.0}],
             "party_at_rest_mb": {"party0": 300.0}, "party_after_a_query_mb": {"party0": 350.0}}
        ]},
        "train": {"trainings": [
            {"preset": "ran32", "owners": 3, "images": 144, "steps": 2000, "seconds": 31.5},
            {"preset": "subspace32", "owners": 3, "images": 144, "steps": 0, "seconds": 0.25},
        ]},
        "products": {"processor": "AMD EPYC, AVX-512", "rows": [
            {"shape": "(512, 512) x (512, 256)", "kind": "dense", "torch_int64_gmacs": 31.5,
             "ours_gmacs": 27.25},
            {"shape": "input (1, 1, 8, 8, 8), kernel (10, 32, 8, 2, 2), stride 2", "kind": "conv",
             "torch_int64_gmacs": 5.5, "ours_gmacs": 3.25},
        ]},
    }  # fmt: skip
    for name, document in printed.items():
        (folder / f"bench-{name}.json").write_text(json.dumps(document))


def _foreign(folder: Path) -> None:
    """An unknown experiment, and known ones without some keys and with values of other types."""
    made_results.store(folder / "unknown.json", "weather", {}, [{"seed": 7, "rain": 0.5}])
    rows = [
        {"seed": "x", "preset": 3, "macro_recall": 0.5},
        {"seed": 1, "macro_recall": True, "per_owner": "all"},
        {"seed": 2, "macro_recall": 0.5, "per_owner": [3, {"owner": 1, "asked": 2}],
         "confusion": [[1, 2]], "baselines": [], "auroc_known": float("nan")},
        {"seed": 3, "macro_recall": 0.25, "baselines": {"knn": 3, "svm": {"macro_recall": 0.1}}},
    ]  # fmt: skip
    made_results.store(folder / "identify.json", "identify", {"where": ["page", 2]}, rows)
    made_results.store(folder / "robustness.json", "robustness", {"data": 3}, [
        {"macro_recall": 0.5}, {"disturbance": "fog", "level": "thick", "macro_recall": 0.25},
        {"disturbance": "fog", "level": 10**30, "macro_recall": 0.25, "baselines": {"svm": {}}},
    ])  # fmt: skip
    made_results.store(folder / "scale.json", "scale", {}, [
        {"owners": 5, "private": 3}, {"owners": -1, "macro_recall": 0.5}, {"owners": None},
    ])  # fmt: skip
    made_results.store(folder / "table.json", "attack table", {}, [
        {"attack": "black-box", "psnr_db": 20.0, "ssim": "high"},
        {"attack": "black-box", "psnr_db": 20.0, "ssim": 0.5, "strength": None},
    ])  # fmt: skip
    made_results.store(folder / "disguising.json", "disguising", {}, [
        {"attack": "regression", "pairs": "many", "psnr_db": 20.0}, {"disguise": "rmt"},
    ])  # fmt: skip
    made_results.store(folder / "party.json", "party", {}, [{"sigmas": 1e300}, {"sigmas": 0.5}])
    made_results.store(folder / "membership.json", "membership", {}, [{"auc": None}, {"auc": 0.5}])
    made_results.store(folder / "original.json", "original", {}, [
        {"step": 5, "owner": "ana", "seconds": None}, {"seconds_each": 3.0, "macro_recall": 0.5},
        {"seconds_each": 9.0, "macro_recall": 0.6, "final": "yes", "baselines": {"pca": None}},
    ])  # fmt: skip
    made_results.store(folder / "bias.json", "bias", {}, [
        {"bias": "images", "value": [], "macro_recall": 0.5}, {"value": "few", "same": 0.5},
    ])  # fmt: skip
