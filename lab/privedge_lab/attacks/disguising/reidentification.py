"""Re-identification: which class does a disguised image show? (Level 1: no key, no pairs.)

`visual` is the authors' test (2019): a classifier of plain images looks at disguised ones. This
adversary is weak, for it ignores what is known about the disguise. `adaptive` uses it: it puts
shuffled blocks back, then classifies by what the disguise leaves unchanged (leaks.py).
"""

import torch
from sklearn.ensemble import ExtraTreesClassifier
from torch import nn

from privedge_lab.attacks.disguising import leaks
from privedge_lab.attacks.views import DisguisedView
from privedge_lab.disguise.blocks import grid

_BATCH = 1000
_TREES = 150


@torch.no_grad()
def labels(network: nn.Sequential, images: torch.Tensor) -> torch.Tensor:
    """Return the labels that `network` predicts for images float32 (n, C, H, W): int64 (n,)."""
    network.eval()
    return torch.cat([network(part).argmax(1) for part in images.split(_BATCH)])


def visual(view: DisguisedView, classifier: nn.Sequential) -> torch.Tensor:
    """Label each disguised image by a `classifier` of plain (padded, enlarged) ones: int64 (n,)."""
    return labels(classifier, view.disguised)


def adaptive(view: DisguisedView, seed: int) -> torch.Tensor:
    """Label each disguised image, int64 (n,), by what the disguise leaves unchanged.

    Extremely randomised trees learn that from `public` images.
    """
    cells = grid(view.sized)
    public = cells.cut_disguised(cells.undisguised(view.public.images))
    plain = leaks.unchanged(public, view.sized)
    seen = leaks.unchanged(cells.cut_disguised(view.disguised), view.sized)
    if view.sized.settings.shuffle:
        seen = seen[:, leaks.unshuffle(plain, seen)]
    trees = ExtraTreesClassifier(_TREES, random_state=seed)
    trees.fit(plain.flatten(1).numpy(), view.public.labels.numpy())
    return torch.from_numpy(trees.predict(seen.flatten(1).numpy()))
