"""Which class is a disguised image of? (Level 1: no key, no pairs.)

`visual` is the authors' test (2019): a classifier of plain images looks at disguised ones. It is a
weak adversary, who ignores what the disguise is known to be. `adaptive` does not: it classifies by
what the disguise leaves unchanged (leaks.py), after putting shuffled blocks back.
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
    """What `network` takes images (n, C, H, W) for: int64 (n,)."""
    network.eval()
    return torch.cat([network(part).argmax(1) for part in images.split(_BATCH)])


def visual(view: DisguisedView, classifier: nn.Sequential) -> torch.Tensor:
    """The label that a `classifier` of plain (padded, enlarged) images gives each: int64 (n,)."""
    return labels(classifier, view.disguised)


def adaptive(view: DisguisedView, seed: int) -> torch.Tensor:
    """Labels (n,) by trees grown on what the disguise leaves unchanged of `public` images."""
    cells = grid(view.sized)
    public = cells.cut_disguised(cells.undisguised(view.public.images))
    plain = leaks.unchanged(public, view.sized)
    seen = leaks.unchanged(cells.cut_disguised(view.disguised), view.sized)
    if view.sized.settings.shuffle:
        seen = seen[:, leaks.unshuffle(plain, seen)]
    trees = ExtraTreesClassifier(_TREES, random_state=seed)
    trees.fit(plain.flatten(1).numpy(), view.public.labels.numpy())
    return torch.from_numpy(trees.predict(seen.flatten(1).numpy()))
