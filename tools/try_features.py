"""Try a feature map on validation images, as presets were chosen (docs/how-to/data.md has data).

    python tools/try_features.py --data faces.npz --size 64 --components 48,64 --seed 0,1 \
        --features '{"kind": "oriented", "cell": 4}'
    python tools/try_features.py --data words.npz --size 64x128 --components 16 --seed 0 \
        --group document --words 5 --features '{"kind": "fine-cooccurrence", "directions": 24}'

Every class is an owner. Each owner fits a subspace to its own images, and a fifth of the training
images are queries; no test image is used. There is one line for each number of components. It has
the macro recall of each seed, and with --words also that over so many images of one page. It also
has the AUROC of the parties' rule for "unknown" at several shares of the mean, with half of the
owners as unknown subjects. Sees everything in plaintext.
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
from privedge_lab.evaluation.identify_figures import figures, voted
from privedge_lab.evaluation.identify_parts import Choice, Part, deal

# Shares of the mean in the rule; with 0, only the second best counts.
SHARES = (0.0, 0.2, 0.35, 0.5, 1.0)
# How often half of the owners are drawn to be registered; the result is the mean over these draws.
_HALVES = 4


def spec_for(features: str, size: tuple[int, int], channels: int, components: int) -> RanSpec:
    """Return the spec of a subspace on the feature map `features`, JSON as in a spec."""
    height, width = size
    return RanSpec.from_json(
        f'{{"name": "trial", "image": {{"height": {height}, "width": {width}, '
        f'"channels": {channels}}}, "features": {features}, '
        f'"layers": [{{"kind": "subspace", "components": {components}}}]}}'
    )


def measured(data: datasets.Labelled, spec: RanSpec, seed: int, group: str | None) -> Cohort:
    """Train one model per owner, and ask about validation images; keep groups of `group` whole."""
    parts = deal(data, Choice(seed, part=Part.VALIDATION, group=group))
    return train_cohort(parts, spec, settings_for(spec, seed=seed), lambda *_: None)


def recall(cohort: Cohort, words: int) -> float:
    """Return the macro recall of the least error, or of the least sum over `words` of a page."""
    parts = cohort.parts
    errors, truth = voted(cohort.errors, parts.labels, parts.pages, words)
    return figures(truth, errors.argmin(axis=1), parts.owners).macro_recall


def auroc(cohort: Cohort, share: float, seed: int) -> float:
    """Return the AUROC of the rule, images of registered owners against those of unknown subjects.

    The score is best / ((1 - share) * second + share * mean). Half of the owners are registered;
    the result is the mean over four such halves drawn by `seed`.
    """
    rng, owners = np.random.default_rng(seed), cohort.errors.shape[1]
    halves = [np.sort(rng.permutation(owners)[: owners // 2]) for _ in range(_HALVES)]
    return float(np.mean([_half(cohort, half, share) for half in halves]))


def known(cohorts: Mapping[int, Cohort], share: float) -> float:
    """Return the mean of `auroc` over cohorts by seed."""
    return float(np.mean([auroc(cohort, share, seed) for seed, cohort in cohorts.items()]))


def _half(cohort: Cohort, half: npt.NDArray[np.int64], share: float) -> float:
    errors = cohort.errors[:, half]
    least, second = np.partition(errors, 1, axis=1)[:, :2].T
    bound = (1 - share) * second + share * errors.mean(axis=1)
    registered = np.isin(cohort.parts.labels, half)
    return float(roc_auc_score(registered, -least / np.maximum(bound, 1e-12)))


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def _line(cohorts: Mapping[int, Cohort], words: Sequence[int]) -> str:
    found = []
    for count in words:
        recalls = " ".join(f"{recall(cohort, count):.3f}" for cohort in cohorts.values())
        found.append(f"recall {recalls}" + (f" over {count} images" if count > 1 else ""))
    by_share = (f"{share:g}: {known(cohorts, share):.3f}" for share in SHARES)
    return f"{'; '.join(found)}; AUROC by share of the mean {', '.join(by_share)}"


def main(arguments: Sequence[str]) -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="npz or folder of folders")
    parser.add_argument("--features", required=True, help="JSON, as in a spec")
    parser.add_argument("--size", type=_size, required=True, help="pixels: 64, or 64x128")
    parser.add_argument("--components", type=_numbers, required=True)
    parser.add_argument("--seed", type=_numbers, default=[0, 1])
    parser.add_argument("--group", help="fact that says which page an image is of")
    parser.add_argument("--words", type=int, default=1, help="also vote over so many of a page")
    chosen = parser.parse_args(arguments)
    data = datasets.read(chosen.data)
    for components in chosen.components:
        spec = spec_for(chosen.features, chosen.size, data.images.shape[1], components)
        cohorts = {seed: measured(data, spec, seed, chosen.group) for seed in chosen.seed}
        values = int(np.prod(spec.input_shape))
        found = _line(cohorts, sorted({1, chosen.words}))
        sys.stdout.write(f"{components} components of {values} values: {found}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
