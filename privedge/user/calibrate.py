"""Choose a cohort's margin: on pictures of owners that no model has seen, and of strangers.

    1. hold out some pictures of every owner, and train each owner's model on the others
    2. ratio = best error / least of the second best and the rivals' (sharing/known.py)
    3. the margin is the largest at which at most the wanted share of strangers is taken for owners

Sees everybody's pictures in plaintext: for data that one may look at, not for owners' own devices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from privedge.arrays import Features
from privedge.errors import ConfigError
from privedge.progress import Progress
from privedge.ran import features
from privedge.ran.inputs import Opened
from privedge.ran.rivals import Rivals
from privedge.ran.spec import RanSpec
from privedge.sharing import known
from privedge.sharing.intervals import least_for, wilson
from privedge.sharing.known import Reals
from privedge.user import overlap
from privedge.user.asking import errors_of
from privedge.user.checkpoint import Ran
from privedge.user.fitting import fit_ran
from privedge.user.people import inputs_of
from privedge.user.settings import TrainSettings

Interval = tuple[float, float]

# Of each owner's pictures: asked, and not trained on.
_HELD_OUT = 0.3
# Above chance, from where on owners and strangers are taken to be told apart.
_DEVIATIONS = 2.0


@dataclass(frozen=True)
class Calibration:
    """A margin, and what it does on the pictures it was chosen on.

    margin: None if there is none, and `why` says why (see `choose`).
    tar: of pictures of owners, the share that is named, and named right. far: of strangers, the
        share that is named. Each with its 95 % interval; None without a margin.
    far_crossed: the same as far, of each half of the strangers at a margin chosen on the other.
    recall: the share of owners' pictures whose model is the best, before any margin.
    """

    margin: float | None
    why: str
    tar: float | None
    tar_interval: Interval | None
    far: float | None
    far_interval: Interval | None
    far_crossed: float | None
    recall: float
    asked: int
    strangers: int


@dataclass(frozen=True)
class Ratios:
    """Best error / reference: of owners' pictures, whether the best is right, and of strangers."""

    own: Reals
    right: npt.NDArray[np.bool_]
    strangers: Reals


def measure(
    people: Mapping[str, Opened],
    strangers: Sequence[Opened],
    spec: RanSpec,
    settings: TrainSettings,
    rivals: Rivals | None,
    progress: Progress,
) -> Ratios:
    """Train one model a person, and ask all of them.

    Raises ConfigError for one person without rivals, and for strangers or rivals that are the
    owners' own; ImageError; and TrainingError for too few pictures of a person.
    """
    if len(people) == 1 and rivals is None:
        raise ConfigError("one owner has nothing to be compared with; give --rivals FILE")
    files, largest = settings.files, settings.largest_face
    own = [inputs_of(each, spec, files, largest_face=largest) for each in people.values()]
    far = [inputs_of(each, spec, files, largest_face=largest) for each in strangers]
    overlap.require_strangers(own, far)
    rng = np.random.default_rng(settings.seed)
    rans, held, labels = [], [], []
    for number, mine in enumerate(own):
        progress("train", number, len(people))
        inputs: Any = mine  # pictures or vectors
        order = rng.permutation(len(inputs))
        count = max(1, round(len(inputs) * _HELD_OUT))
        rans.append(fit_ran(inputs[order[count:]], spec, settings, f"person-{number}"))
        held.append(features.extract(spec, inputs[order[:count]], encoder=files.encoder))
        labels.append(np.full(count, number))
    progress("train", len(people), len(people))
    asked, truth = np.concatenate(held), np.concatenate(labels)
    overlap.require_public(asked, rivals)
    others = np.concatenate([features.extract(spec, each, encoder=files.encoder) for each in far])
    errors = _errors(rans, asked)
    return Ratios(
        known.ratios(errors, _to(rivals, asked)),
        errors.argmin(axis=1) == truth,
        known.ratios(_errors(rans, others), _to(rivals, others)),
    )


def choose(found: Ratios, wanted: float) -> Calibration:
    """Choose the largest margin with at most `wanted` of the strangers named.

    There is none if too few strangers were asked, if they are taken for owners as easily as owners
    are, or if it would name no owner.
    """
    count = len(found.strangers)
    margin, why = _margin(found.strangers, wanted)
    why = why or _too_alike(found)
    recall, asked = float(found.right.mean()), len(found.own)
    named = 0 if margin is None else int((found.right & (found.own < margin)).sum())
    if not named:
        why = why or f"a margin that keeps the share of strangers at {wanted:g} names no owner"
    if margin is None or why:
        return Calibration(None, why, None, None, None, None, None, recall, asked, count)
    taken = int((found.strangers < margin).sum())
    return Calibration(
        margin,
        "",
        named / len(found.own),
        wilson(named, len(found.own)),
        taken / count,
        wilson(taken, count),
        _crossed(found.strangers, wanted),
        recall,
        asked,
        count,
    )


def _margin(strangers: Reals, wanted: float) -> tuple[float | None, str]:
    if len(strangers) < least_for(wanted):
        return None, (
            f"a share of {wanted:g} is not resolvable with {len(strangers)} strangers; give at "
            f"least {least_for(wanted)}"
        )
    allowed = int(wanted * len(strangers) + 1e-9)
    # Named are the ratios strictly below the margin: so many of them are allowed.
    limit = np.sort(strangers)[allowed] if allowed < len(strangers) else 1.0
    margin = known.in_steps(min(1.0, float(limit)))
    if margin <= 0:
        return None, f"no margin keeps the share of strangers at {wanted:g}: they are too alike"
    return margin, ""


def _too_alike(found: Ratios) -> str:
    """Say so if owners are not told from strangers better than by chance; else nothing.

    Compared is the share of pairs of an owner's and a stranger's picture in which the owner's has
    the lower ratio: .5 by chance, with the deviation of Mann and Whitney's U.
    """
    own, strangers = len(found.own), np.sort(found.strangers)
    below, up_to = (np.searchsorted(strangers, found.own, side) for side in ("left", "right"))
    share = 1 - float((below + up_to).mean()) / (2 * len(strangers))
    deviation = np.sqrt((own + len(strangers) + 1) / (12 * own * len(strangers)))
    if share > 0.5 + _DEVIATIONS * deviation:
        return ""
    return (
        "strangers are too alike the owners: they are taken for owners as easily as owners are; "
        "give pictures of other people, or another preset"
    )


def _crossed(strangers: Reals, wanted: float) -> float | None:
    """Choose on one half of the strangers, and count how many of the other are named; in turn."""
    halves = strangers[::2], strangers[1::2]
    shares = []
    for chosen_on, asked in (halves, halves[::-1]):
        margin, _ = _margin(chosen_on, wanted)
        if margin is None:
            return None
        shares.append(float((asked < margin).mean()))
    return float(np.mean(shares))


def _errors(rans: Sequence[Ran], asked: Features) -> Reals:
    return np.stack([errors_of(ran, asked) for ran in rans], axis=1)


def _to(rivals: Rivals | None, asked: Features) -> Reals | None:
    return None if rivals is None else known.to_rivals(asked, rivals.rows)
