"""Defences by name, for commands and configuration files."""

from collections.abc import Mapping

from privedge.errors import ConfigError
from privedge_lab.baseline.defence import Defence
from privedge_lab.baseline.defences.balanced import BalancedPartitioning
from privedge_lab.baseline.defences.dropping import Dropping, FeatureDropout
from privedge_lab.baseline.defences.fisher import Fisher
from privedge_lab.baseline.defences.noise import Gaussian, Laplace
from privedge_lab.baseline.defences.nopeek import NoPeek
from privedge_lab.baseline.defences.partitioning import Partitioning
from privedge_lab.baseline.draws import Repeat

_CLASSES: tuple[type[Defence], ...] = (
    Defence,
    Gaussian,
    Laplace,
    Dropping,
    FeatureDropout,
    NoPeek,
    Fisher,
    Partitioning,
    BalancedPartitioning,
)
_BY_NAME = {kind.name: kind for kind in _CLASSES}
NAMES = tuple(_BY_NAME)


def make(
    name: str,
    strength: float = 0.0,
    repeat: Repeat = "per-input",
    *,
    private: str | None = None,
    measuring: bool = False,
    learned: Mapping[str, float] | None = None,
) -> Defence:
    """Make the defence `name`; with `learned`, as it was after training (Defence.learned).

    `private` is the fact that both partitionings hide; the other defences ignore it. `measuring`
    accepts ways of repeating that give the secret away, to show what they cost. Raises ConfigError
    for an unknown name, an unsafe way of repeating, or a strength out of range.
    """
    if name not in _BY_NAME:
        raise ConfigError(f"{name}: no such defence; there are {', '.join(NAMES)}")
    defence: Defence
    kind = _BY_NAME[name]
    if issubclass(kind, Partitioning):
        defence = kind(strength, repeat, measuring=measuring, private=private)
    else:
        defence = kind(strength, repeat, measuring=measuring)
    if learned is not None:
        defence.restore(learned)
    return defence
