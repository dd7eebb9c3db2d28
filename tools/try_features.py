"""Try a feature map on validation images, as the presets of docs/evaluation.md were chosen.

    python tools/try_features.py --data faces.npz --side 64 --components 48,64 --seed 0,1 \
        --features '{"kind": "oriented", "cell": 4}'

Every class is an owner. Each owner fits a subspace to the owner's own images, and a fifth of the
training images is asked; no test image is touched. A line for each number of components: macro
recall of each seed, and, with half of the owners as strangers, the AUROC of the parties' rule for
"unknown" at several shares of the mean. Sees everything in plaintext.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from privedge.ran.spec import RanSpec
from privedge.user.settings import settings_for
from privedge_lab import datasets
from privedge_lab.evaluation.cohort import Cohort, train_cohort
from privedge_lab.evaluation.identify_figures import figures
from privedge_lab.evaluation.identify_parts import Choice, Part, deal

# Shares of the mean in the rule; 0 goes by the second best alone.
SHARES = (0.0, 0.2, 0.35, 0.5, 1.0)
# Halves of the owners drawn to be registered, of which the mean is taken.
_HALVES = 4


def spec_for(features: str, side: int, channels: int, components: int) -> RanSpec:
    """A subspace on the feature map that `features`, JSON as in a spec, describes."""
    return RanSpec.from_json(
        f'{{"name": "trial", "image": {{"height": {side}, "width": {side}, '
        f'"channels": {channels}}}, "features": {features}, '
        f'"layers": [{{"kind": "subspace", "components": {components}}}]}}'
    )


def measured(data: datasets.Labelled, spec: RanSpec, seed: int) -> Cohort:
    """One model an owner, asked about validation images."""
    parts = deal(data, Choice(seed, part=Part.VALIDATION))
    return train_cohort(parts, spec, settings_for(spec, seed=seed), lambda *_: None)


def recall(cohort: Cohort) -> float:
    """Macro recall of the least error."""
    answers = cohort.errors.argmin(axis=1)
    found = figures(cohort.parts.labels, answers, cohort.parts.owners)
    return float(found["macro_recall"])


def auroc(cohort: Cohort, share: float, seed: int) -> float:
    """How well best / ((1 - share) * second + share * mean) tells owners' images from strangers',
    with half of the owners registered; the mean of four halves drawn by `seed`.
    """
    rng, owners = np.random.default_rng(seed), cohort.errors.shape[1]
    halves = [np.sort(rng.permutation(owners)[: owners // 2]) for _ in range(_HALVES)]
    return float(np.mean([_half(cohort, half, share) for half in halves]))


def known(cohorts: Mapping[int, Cohort], share: float) -> float:
    """The mean of `auroc` over cohorts by seed."""
    return float(np.mean([auroc(cohort, share, seed) for seed, cohort in cohorts.items()]))


def _half(cohort: Cohort, half: npt.NDArray[np.int64], share: float) -> float:
    errors = cohort.errors[:, half]
    least, second = np.partition(errors, 1, axis=1)[:, :2].T
    bound = (1 - share) * second + share * errors.mean(axis=1)
    registered = np.isin(cohort.parts.labels, half)
    return float(roc_auc_score(registered, -least / np.maximum(bound, 1e-12)))


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def main(arguments: Sequence[str]) -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="npz or folder of folders")
    parser.add_argument("--features", required=True, help="JSON, as in a spec")
    parser.add_argument("--side", type=int, required=True, help="pixels, height and width")
    parser.add_argument("--components", type=_numbers, required=True)
    parser.add_argument("--seed", type=_numbers, default=[0, 1])
    chosen = parser.parse_args(arguments)
    data = datasets.read(chosen.data)
    for components in chosen.components:
        spec = spec_for(chosen.features, chosen.side, data.images.shape[1], components)
        cohorts = {seed: measured(data, spec, seed) for seed in chosen.seed}
        recalls = " ".join(f"{recall(cohort):.3f}" for cohort in cohorts.values())
        by_share = (f"{share:g}: {known(cohorts, share):.3f}" for share in SHARES)
        values = int(np.prod(spec.input_shape))
        sys.stdout.write(
            f"{components} components of {values} values: recall {recalls}; "
            f"AUROC by share of the mean {', '.join(by_share)}\n"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
