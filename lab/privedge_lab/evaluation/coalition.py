"""Turn each group that the threat model allows on answers of made cohorts."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parties.mpc.engine import Engine, T
from parties.mpc.network import Network
from parties.mpc.predict import Rule, predict
from privedge.progress import Progress
from privedge.ran import features
from privedge.ran.presets import VECTOR, preset
from privedge.sharing.fixed_point import encode
from privedge_lab.attacks.coalition import GroupView, of_dealer, of_party, order, recognised
from privedge_lab.bench import made
from privedge_lab.reference.clear import ClearEngine
from privedge_lab.reference.run import Outcome, as_tensor, fresh_masks, run

_WORDS, _COMPONENTS = 128, 4
# Each group, and whose answer shares are news to it: a party has its own anyway.
_NEWS = {
    "dealer + clients + owners": [0, 1],
    "party 0 + clients + owners": [1],
    "party 1 + clients + owners": [0],
}
# Whoever is nearest is named; the number of failed comparisons is then an owner's rank.
_RULE = Rule(margin=1.0)


@dataclass(frozen=True)
class CoalitionRow:
    """How often a group finds its target: a share of `tries`, beside what guessing reaches."""

    coalition: str
    target: str
    recovered: float
    guessing: float
    tries: int


@dataclass(frozen=True)
class CoalitionSettings:
    """`queries` to cohorts of `owners` (2 to 16). With `unreleased` the client shows the shares as
    they were before their release.
    """

    owners: int = 10
    queries: int = 20
    unreleased: bool = False
    seed: int = 0


def rows(settings: CoalitionSettings, progress: Progress) -> Iterator[CoalitionRow]:
    """Two rows for each group. Models and queries are made; nothing is trained."""
    orders, words = dict.fromkeys(_NEWS, 0), dict.fromkeys(_NEWS, 0)
    chances = dict.fromkeys(_NEWS, 0.0)
    for number in range(settings.queries):
        progress("queries", number, settings.queries)
        outcome, true = _asked(settings, number)
        for name, view in _views(outcome, settings.unreleased).items():
            seen = recognised(view)[_NEWS[name]]
            orders[name] += order(view) == true
            words[name] += int(seen.sum())
            chances[name] = view.known.numel() / 2**64
    for name in _NEWS:
        tries = settings.queries * settings.owners * len(_NEWS[name])
        guessing = 1 / math.factorial(settings.owners)
        yield CoalitionRow(
            name, "order of the owners", orders[name] / settings.queries, guessing, settings.queries
        )
        yield CoalitionRow(
            name, "released words it can compute", words[name] / tries, chances[name], tries
        )


def _views(outcome: Outcome, unreleased: bool) -> dict[str, GroupView]:
    shown = outcome.inner if unreleased else outcome.shares
    parties = zip(outcome.views, outcome.inner, strict=True)
    views = [of_dealer(outcome.views, shown), *(of_party(*each, shown) for each in parties)]
    return dict(zip(_NEWS, views, strict=True))


def _asked(settings: CoalitionSettings, number: int) -> tuple[Outcome, list[int]]:
    """One query in this process, and the owners' true order."""
    spec = preset(VECTOR, size=_WORDS, unit_length=True, components=_COMPONENTS)
    models = made.models(spec, settings.owners, settings.seed + number)
    names = list(spec.parameters())
    stacked = [encode(_stacked(models, name)) for name in names]
    query = encode(features.extract(spec, made.images(spec, 1, settings.seed + number)))

    def program(engine: Engine[T], asked: T, *parameters: T) -> T:
        return predict(engine, spec, dict(zip(names, parameters, strict=True)), asked, _RULE)

    outcome = run(program, query, *stacked, masked=fresh_masks(), record=True)
    clear = dict(zip(names, map(as_tensor, stacked), strict=True))
    distances = Network(spec, clear, ClearEngine()).dissimilarity(as_tensor(query))
    return outcome, [int(owner) for owner in distances[0].argsort(stable=True)]


def _stacked(models: made.Models, name: str) -> npt.NDArray[np.float32]:
    return np.stack([model.parameters[name] for model in models])
