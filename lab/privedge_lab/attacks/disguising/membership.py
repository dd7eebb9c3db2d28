"""Class membership (Sharma & Chen 2019): does the network reveal which label is which class?

Plain images of one class go into the network that was trained on disguised ones. If their labels
cluster, an adversary who has only the network learns which class a label means. If the labels are
evenly spread, the adversary learns nothing.
"""

import math
from dataclasses import dataclass

import torch

from privedge_lab.attacks.disguising.reidentification import labels
from privedge_lab.attacks.views import DisguisedNetworkView
from privedge_lab.disguise.blocks import grid


@dataclass(frozen=True)
class Membership:
    """How the labels predicted for each class of images spread over all labels.

    `counts` int64 (classes, labels). `entropy` is relative to that of evenly spread labels: 1 is
    resilient, 0 means all one label. `fano` is the variance of the counts over their mean; 0 means
    even counts.
    """

    counts: torch.Tensor
    entropy: tuple[float, ...]
    fano: tuple[float, ...]
    accuracy: float


def membership(view: DisguisedNetworkView) -> Membership:
    """Count the labels that the network gives to `public` images, which are not disguised."""
    plain = grid(view.sized).undisguised(view.public.images)
    found, truth, classes = labels(view.network, plain), view.public.labels, view.public.classes
    counts = torch.zeros((classes, classes), dtype=torch.int64)
    # A network may have more outputs than there are classes; the excess counts as the last class.
    counts.index_put_((truth, found.clamp(max=classes - 1)), torch.tensor(1), accumulate=True)
    rows = counts[counts.sum(1) > 0].double()
    shares = rows / rows.sum(1, keepdim=True)
    entropy = torch.special.entr(shares).sum(1) / math.log(classes)
    fano = rows.var(1, correction=0) / rows.mean(1)
    hits = float((found == truth).double().mean())
    return Membership(counts, tuple(entropy.tolist()), tuple(fano.tolist()), hits)
