"""What `privedge attack table` measures: LeNet's cuts, defences and attacks, and their settings.

Everything here is a choice that the figures depend on. What differs from He et al.'s released code
is marked; the papers' settings are the defaults of privedge_lab.attacks.inversion.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from privedge_lab.attacks.inversion.black_box import BlackBoxSettings
from privedge_lab.attacks.inversion.query_free import QueryFreeSettings
from privedge_lab.attacks.inversion.white_box import WhiteBoxSettings
from privedge_lab.baseline.spec import NetworkSpec
from privedge_lab.baseline.train import TrainSettings

CUTS = ("conv1", "relu2", "fc1")
MEAN_IMAGE = "mean-image"
WHITE, TUNED, UNADAPTED = "white-box", "white-box-tuned", "white-box-unadapted"
BLACK, RESIDUAL, QUERY_FREE = "black-box", "black-box-residual", "query-free"

# Not the paper's eps of 1e-3 nor its constant rate: this converges in a tenth of the steps.
_SEARCH = WhiteBoxSettings(iterations=300, rate=0.1, eps=1e-8, anneal=True)
# The paper's weights of total variation, but at fc1: the paper's of its CIFAR network's.
_WHITE = {
    "conv1": _SEARCH,
    "relu2": replace(_SEARCH, smoothness=1.0),
    "fc1": replace(_SEARCH, smoothness=100.0),
}
# The best of a few weights.
_TUNED = {
    "relu2": replace(_SEARCH, smoothness=0.1),
    "fc1": replace(_SEARCH, smoothness=10.0),
}
# The paper's decoder and loss, with a higher rate that falls to 0: 10 epochs in place of 50.
_BLACK = {
    "conv1": BlackBoxSettings(epochs=20, rate=1e-2, eps=1e-8, anneal=True),
    "relu2": BlackBoxSettings(epochs=12, rate=3e-3, eps=1e-8, anneal=True),
    "fc1": BlackBoxSettings(epochs=12, rate=3e-3, eps=1e-8, anneal=True),
}
_DEEP = BlackBoxSettings(
    decoder="residual", epochs=4, rate=2e-3, eps=1e-8, anneal=True, blocks=2, channels=32
)
_RESIDUAL = {
    # At full size a layer costs four times as much as at half.
    "conv1": replace(_DEEP, epochs=3, channels=16, blocks=1),
    "relu2": _DEEP,
    "fc1": _DEEP,
}
# The paper's weight 2 is for its own shadows; less serves ours better.
_SHADOWED = {
    "conv1": replace(_SEARCH, smoothness=0.2),
    "relu2": replace(_SEARCH, smoothness=2.0),
    "fc1": replace(_SEARCH, smoothness=100.0),
}


@dataclass(frozen=True)
class Job:
    """One network behind one defence, and the attacks on it: what a process does in one go."""

    cut: str
    attacks: tuple[str, ...]
    defence: str = "none"
    strength: float = 0.0


@dataclass(frozen=True)
class TableSettings:
    """`images`: how many are attacked. `effort` scales all epochs and steps, for trials."""

    images: int = 200
    seed: int = 0
    effort: float = 1.0

    def times(self, count: int) -> int:
        """`count` epochs or steps at this effort: at least 1."""
        return max(1, round(count * self.effort))

    def training(self) -> TrainSettings:
        """The attacked network: as in the paper, for 20 epochs."""
        return TrainSettings(epochs=self.times(20), seed=self.seed)

    def white(self, job: Job, attack: str) -> WhiteBoxSettings:
        """White-box settings. An adapted attacker takes zeros as unknown and starts twice."""
        chosen = _TUNED[job.cut] if attack == TUNED else _WHITE[job.cut]
        chosen = replace(chosen, iterations=self.times(chosen.iterations))
        if attack == UNADAPTED or job.defence == "none":
            return chosen
        return replace(chosen, masked=True, starts=(0.5, 0.0))

    def black(self, job: Job, attack: str) -> BlackBoxSettings:
        """Black-box settings, of either decoder."""
        chosen = (_RESIDUAL if attack == RESIDUAL else _BLACK)[job.cut]
        return replace(chosen, epochs=self.times(chosen.epochs))

    def query_free(self, job: Job, spec: NetworkSpec) -> QueryFreeSettings:
        """Query-free settings: a shadow of the head's own structure."""
        search = _SHADOWED[job.cut]
        search = replace(search, iterations=self.times(search.iterations))
        return QueryFreeSettings(spec, job.cut, epochs=self.times(5), search=search)


# Dropping trains a network of its own for each strength.
_STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "dropping": (0.5, 0.8, 0.9, 0.95),
    "feature-dropout": (0.3, 0.5, 0.7, 0.85),
    "gaussian": (0.5, 1.0, 2.0, 3.0),
}


def jobs() -> tuple[Job, ...]:
    """All of the table, the longest first so that two processes end at about the same time."""
    deep = [Job(cut, (RESIDUAL,)) for cut in CUTS]
    defended = [
        Job("relu2", _against(name), name, strength)
        for name, strengths in _STRENGTHS.items()
        for strength in strengths
    ]
    plain = [Job(cut, (attack,)) for attack in (BLACK, QUERY_FREE) for cut in CUTS]
    white = [Job(cut, (MEAN_IMAGE, WHITE, *((TUNED,) if cut in _TUNED else ()))) for cut in CUTS]
    return (*deep, *defended, *plain, *white)


def _against(defence: str) -> tuple[str, ...]:
    # Noise leaves no zeros to take as unknown.
    return (WHITE, BLACK) if defence == "gaussian" else (WHITE, UNADAPTED, BLACK)
