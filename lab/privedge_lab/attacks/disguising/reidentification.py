"""Re-identification: which class does a disguised image show? (Level 1: no key, no pairs.)

`visual` is the authors' test (2019): a classifier of plain images looks at disguised ones. This
adversary is weak, for it ignores what is known about the disguise. `adaptive` uses it: it puts
shuffled blocks back, then classifies by what the disguise leaves unchanged (leaks.py), by trees or
by a convolutional network over the grid of blocks.
"""

import torch
from sklearn.ensemble import ExtraTreesClassifier
from torch import nn
from torch.nn import functional

from privedge_lab.attacks.disguising import leaks
from privedge_lab.attacks.views import DisguisedView
from privedge_lab.disguise.blocks import Grid, grid

_BATCH = 1000
_TREES = 150
# Of the network over the grid of blocks.
_WIDTH, _EPOCHS, _RATE, _TRAINED_AT_ONCE = 64, 12, 2e-3, 64
_LEAST = 1e-6


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
    plain, seen = _unchanged(view)
    trees = ExtraTreesClassifier(_TREES, random_state=seed)
    trees.fit(plain.flatten(1).numpy(), view.public.labels.numpy())
    return torch.from_numpy(trees.predict(seen.flatten(1).numpy()))


def adaptive_network(view: DisguisedView, seed: int) -> torch.Tensor:
    """As `adaptive`, by a convolutional network: what is around a block counts, wherever it is."""
    cells, generator = grid(view.sized), torch.Generator().manual_seed(seed)
    maps = [_map(each, cells) for each in _unchanged(view)]
    mean, deviation = maps[0].mean((0, 2, 3)), maps[0].std((0, 2, 3)).clamp(min=_LEAST)
    plain, seen = ((each - mean[:, None, None]) / deviation[:, None, None] for each in maps)
    network = _network(plain.shape[1], view.public.classes, generator).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _EPOCHS)
    for _ in range(_EPOCHS):
        for index in torch.randperm(len(plain), generator=generator).split(_TRAINED_AT_ONCE):
            loss = functional.cross_entropy(network(plain[index]), view.public.labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
    return labels(network, seen)


def _unchanged(view: DisguisedView) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the disguise leaves unchanged of public images and of those disguised.

    float32 (n, positions, f); shuffled blocks are back in place, as far as statistics tell.
    """
    cells = grid(view.sized)
    public = cells.cut_disguised(cells.undisguised(view.public.images))
    plain = leaks.unchanged(public, view.sized)
    seen = leaks.unchanged(cells.cut_disguised(view.disguised), view.sized)
    if view.sized.settings.shuffle:
        seen = seen[:, leaks.unshuffle(plain, seen)]
    return plain, seen


def _map(features: torch.Tensor, cells: Grid) -> torch.Tensor:
    """Reshape features (n, positions, f) to maps (n, f, rows, columns)."""
    return features.transpose(1, 2).reshape(len(features), -1, cells.rows, cells.columns)


def _network(inputs: int, classes: int, generator: torch.Generator) -> nn.Sequential:
    network = nn.Sequential(
        nn.Conv2d(inputs, _WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(4),
        nn.Flatten(),
        nn.Linear(16 * _WIDTH, max(2, classes)),
    )
    for module in network:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            nn.init.constant_(module.get_parameter("bias"), 0.0)
    return network
