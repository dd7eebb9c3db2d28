"""What a sweep measures: cuts, defences and their strengths, attacks, and what all have in common.

Says no before anything is trained: an unknown name would otherwise be found after an hour.
"""

from dataclasses import dataclass, field

from privedge.errors import ConfigError
from privedge_lab.attacks.attributes import AttackerSettings
from privedge_lab.attacks.inversion.single_layer import SingleLayerSettings
from privedge_lab.baseline.defence import Defence
from privedge_lab.baseline.defences import registry
from privedge_lab.baseline.draws import Repeat
from privedge_lab.baseline.spec import NetworkSpec
from privedge_lab.baseline.train import TrainSettings
from privedge_lab.datasets import TrainTest
from privedge_lab.results.rows.values import Raw

# Solvers of a head of one layer, which is a system of linear equations.
SOLVERS = {
    "pseudo-inverse": SingleLayerSettings("pseudo-inverse"),
    "non-negative": SingleLayerSettings("non-negative"),
}
INVERSIONS = ("white-box", "white-box-masked", "black-box", "black-box-residual", *SOLVERS)
ATTRIBUTE = "attribute"
NONE = Defence.name


@dataclass(frozen=True)
class Choice:
    """One device: where it cuts, and how it defends itself."""

    cut: str
    defence: str
    strength: float


@dataclass(frozen=True)
class Plan:
    """What to measure. `private`: the fact that attribute attackers (and partitioning) are about.

    `images` test images are attacked; attackers know `known` training images. `iterations` are
    those of white-box attacks, `attack_epochs` those of black-box ones. The server is sent each
    image `asked` times, which gains it something only if the device draws afresh (repeat `fresh`).
    """

    spec: NetworkSpec
    choices: tuple[Choice, ...]
    attacks: tuple[str, ...] = ("white-box", "black-box")
    repeat: Repeat = "per-input"
    private: str | None = None
    training: TrainSettings = field(default_factory=TrainSettings)
    images: int = 200
    known: int = 2000
    iterations: int = 500
    attack_epochs: int = 20
    asked: int = 1
    attackers: AttackerSettings = field(default_factory=AttackerSettings)

    def settings(self) -> Raw:
        """What all rows have in common, for the results' file."""
        return {
            "network": self.spec.name,
            "network_digest": self.spec.digest(),
            "repeat": self.repeat,
            "private": self.private,
            "epochs": self.training.epochs,
            "seed": self.training.seed,
            "images": self.images,
            "known": self.known,
            "iterations": self.iterations,
            "attack_epochs": self.attack_epochs,
            "asked": self.asked,
        }


def choices(
    cuts: tuple[str, ...], defences: tuple[str, ...], strengths: dict[str, tuple[float, ...]]
) -> tuple[Choice, ...]:
    """Each cut without defence, and with each defence at each of its strengths.

    `strengths` by the defence's name; "" stands for those not named. Raises ConfigError.
    """
    idle = [f"{name}=" for name in strengths if name and name not in defences]
    if strengths.get("") and not set(defences) - {NONE} - set(strengths):
        idle.append("without a name")
    if idle:
        raise ConfigError(f"strengths {idle[0]}: of no defence that is measured; leave them out")
    found = []
    for cut in cuts:
        found.append(Choice(cut, NONE, 0.0))
        for name in defences:
            for strength in () if name == NONE else strengths.get(name, strengths.get("", ())):
                registry.make(name, strength)  # refuses now what would fail after an hour
                found.append(Choice(cut, name, strength))
    missing = [name for name in defences if name != NONE and not strengths.get(name)]
    if missing and not strengths.get(""):
        raise ConfigError(f"{missing[0]}: give it strengths to measure")
    return tuple(found)


def check(plan: Plan, parts: TrainTest) -> None:
    """Raises ConfigError for a cut, an attack or a fact that is not there."""
    for choice in plan.choices:
        if choice.cut not in plan.spec.cuts:
            raise ConfigError(
                f"{choice.cut}: no such cut; {plan.spec.name} has {', '.join(plan.spec.cuts)}"
            )
    unknown = [name for name in plan.attacks if name not in INVERSIONS]
    if unknown:
        raise ConfigError(f"{unknown[0]}: no such attack; there are {', '.join(INVERSIONS)}")
    if plan.private is not None and plan.private not in parts.train.facts:
        raise ConfigError(
            f"{plan.private}: no such fact; there are {', '.join(parts.train.facts) or 'none'}"
        )
