"""Class membership (Sharma & Chen 2019): does the network give away which label is which class?

Plain images of one class go into the network that was trained on disguised ones. If their labels
cluster, an adversary who may only have the network learns which class stands behind a label; even
labels tell it nothing.
"""

import math
from dataclasses import dataclass

import torch

from privedge_lab.attacks.disguising.reidentification import labels
from privedge_lab.attacks.views import DisguisedNetworkView
from privedge_lab.disguise.blocks import grid


@dataclass(frozen=True)
class Membership:
    """Per class of the images: how their predicted labels spread over all labels.

    `counts` int64 (classes, labels). `entropy` in units of that of even labels: 1 is resilient, 0
    all one label. `fano`: variance over mean of the counts, 0 if they are even.
    """

    counts: torch.Tensor
    entropy: tuple[float, ...]
    fano: tuple[float, ...]
    accuracy: float


def membership(view: DisguisedNetworkView) -> Membership:
    """The labels that the network gives to `public` images, which are not disguised."""
    plain = grid(view.sized).undisguised(view.public.images)
    found, truth, classes = labels(view.network, plain), view.public.labels, view.public.classes
    counts = torch.zeros((classes, classes), dtype=torch.int64)
    # A network with more outputs than there are classes: those count as the last one.
    counts.index_put_((truth, found.clamp(max=classes - 1)), torch.tensor(1), accumulate=True)
    rows = counts[counts.sum(1) > 0].double()
    shares = rows / rows.sum(1, keepdim=True)
    entropy = torch.special.entr(shares).sum(1) / math.log(classes)
    fano = rows.var(1, correction=0) / rows.mean(1)
    hits = float((found == truth).double().mean())
    return Membership(counts, tuple(entropy.tolist()), tuple(fano.tolist()), hits)
