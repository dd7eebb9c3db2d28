"""What one hostile owner does to the answers of a cohort, with the check of new models and without.

    1.  owners, and public people in place of owners, each with an honest model
    2.  the band: from the people's errors on public probes, as `privedge probes make` chooses it
    3.  every hostile model: does the check take it, and if so, what are others answered then?

none         nobody joins
honest       another owner like the rest
identity     reconstructs everything: of another architecture, which the parties refuse at upload
wide         twice the components: likewise
pooled       trained on the training images of all owners
public       trained on the probes
far          no components, and a mean far from everything (W-39)
zero         no components, and no mean
stretched    rows eight times too long
wrapping     random words in place of every parameter (W-36)
tuned        `pooled`, with as many components left out as it takes to be within the band
avoiding     `pooled`, without the directions in which probes differ most, likewise

Answers are computed on the same integers as the parties compute with, in the clear.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from parties.mpc.predict import Rule, predict
from parties.worker.model_check import refused
from privedge.arrays import Features, Pixels
from privedge.errors import ConfigError
from privedge.progress import Progress
from privedge.ran import features
from privedge.ran.images import fit
from privedge.ran.model_bounds import Band
from privedge.ran.spec import RanSpec
from privedge.sharing.fixed_point import encode
from privedge.user.asking import errors_of
from privedge.user.checkpoint import Ran
from privedge.user.fitting import fit_ran
from privedge.user.model_check import DEVIATIONS
from privedge.user.settings import TrainSettings
from privedge_lab.evaluation import thieves
from privedge_lab.reference.clear import ClearEngine

NONE, HONEST = "none", "honest"
ATTACKS = (
    *("identity", "wide", "pooled", "public", "far", "zero", "stretched", "wrapping"),
    *("tuned", "avoiding"),
)
# Of an architecture that is not the cohort's, so their manifest is refused.
_OTHERS = ("identity", "wide")
# What networks in layers can be.
_IN_LAYERS = (NONE, HONEST, "identity", "pooled", "wrapping")
_FAR = 7.9

Words = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Set:
    """Images uint8 (n, H, W[, 3]) of each class: to train on, and to ask about."""

    train: Sequence[Pixels] = field(repr=False)
    test: Sequence[Pixels] = field(repr=False)


@dataclass(frozen=True)
class Settings:
    """owners: in the cohort, beside the hostile one; the other classes are people and strangers.

    check: whether the parties check new models. deviations: half the width of the band.
    """

    spec: RanSpec
    train: TrainSettings
    owners: int
    margin: float
    seed: int
    check: bool = True
    deviations: float = DEVIATIONS


@dataclass(frozen=True)
class Row:
    """What one hostile model does: shares of strangers named, and of owners' images named right.

    integrity_errors: the share of rows that are neither one name nor none. error_ratio: the mean
    error on the probes over the people's median; None where it says nothing.
    """

    model: str
    admitted: bool
    strangers_named: float
    honest_recall: float
    integrity_errors: float
    error_ratio: float | None


@dataclass(frozen=True)
class _Scene:
    settings: Settings
    honest: Sequence[Ran]
    spare: Ran
    pooled: Pixels = field(repr=False)
    probes: Features = field(repr=False)
    band: Band
    own: Features = field(repr=False)
    truth: np.ndarray = field(repr=False)
    strangers: Features = field(repr=False)


def errors_on_probes(
    data: Set, settings: Settings, probes: Features, progress: Progress
) -> Sequence[tuple[Ran, float]]:
    """Train an honest model of every class; each with its mean error on the probes."""
    found = []
    for number, images in enumerate(data.train):
        progress("train", number, len(data.train))
        ran = fit_ran(images, settings.spec, settings.train, f"owner-{number}")
        found.append((ran, float(errors_of(ran, probes).mean())))
    progress("train", len(data.train), len(data.train))
    return found


def band_of(errors: Sequence[float], deviations: float = DEVIATIONS) -> Band:
    """The band that `privedge probes make` would choose from these people."""
    usual = float(np.median(errors))
    reach = float(np.exp(deviations * np.log(np.array(errors) / usual).std(ddof=1)))
    return Band(usual / reach, usual * reach)


def refused_honest(
    errors: Sequence[float], tries: int, seed: int, deviations: float = DEVIATIONS
) -> tuple[int, int]:
    """Half of the classes, drawn `tries` times, are people, and the others join: how many of these
    are refused, and how many there are.
    """
    rng, out, count = np.random.default_rng(seed), 0, 0
    for _ in range(tries):
        order = rng.permutation(len(errors))
        people, joining = np.split(np.array(errors)[order], [len(errors) // 2])
        band = band_of(list(people), deviations)
        out += int(((joining <= band.least) | (joining >= band.most)).sum())
        count += len(joining)
    return out, count


def rows(
    data: Set,
    settings: Settings,
    probes: Features,
    trained: Sequence[tuple[Ran, float]],
    progress: Progress,
) -> Iterator[Row]:
    """A row for the honest cohort, and one for each attack."""
    scene = _scene(data, settings, probes, trained)
    names = (NONE, HONEST, *ATTACKS) if settings.spec.components else _IN_LAYERS
    for number, name in enumerate(names):
        progress("attack", number, len(names))
        yield _row(scene, name)
    progress("attack", len(names), len(names))


def _scene(
    data: Set, settings: Settings, probes: Features, trained: Sequence[tuple[Ran, float]]
) -> _Scene:
    order = np.random.default_rng(settings.seed).permutation(len(trained))
    owners, people = order[: settings.owners], order[settings.owners + 1 :]
    if len(people) < 2:
        raise ConfigError(f"owners: {len(trained)} classes leave no people; give fewer owners")
    spare = order[settings.owners]
    tests = [_features(settings, data.test[at]) for at in owners]
    return _Scene(
        settings,
        [trained[at][0] for at in owners],
        trained[spare][0],
        np.concatenate([data.train[at] for at in owners]),
        probes,
        band_of([trained[at][1] for at in people], settings.deviations),
        np.concatenate(tests),
        np.repeat(np.arange(len(tests)), [len(each) for each in tests]),
        np.concatenate([_features(settings, data.test[at]) for at in people]),
    )


def _features(settings: Settings, images: Pixels) -> Features:
    spec, encoder = settings.spec, settings.train.files.encoder
    return features.extract(spec, fit(images, spec.image_shape), encoder=encoder)


def _row(scene: _Scene, name: str) -> Row:
    hostile, ratio = (None, None) if name in (NONE, *_OTHERS) else _words(scene, name)
    admitted = hostile is not None and (not scene.settings.check or _taken(scene, hostile))
    cohort = [_encoded(ran) for ran in scene.honest]
    if hostile is not None and admitted:
        cohort.append(hostile)
    stacked = {key: torch.cat([each[key] for each in cohort]) for key in cohort[0]}
    own, far = (_answers(scene.settings, stacked, asked) for asked in (scene.own, scene.strangers))
    rows = np.concatenate([own, far])
    # Random words can make any row: sums of large entries may wrap, so ones are counted.
    whole = np.isin(rows, (0, 1)).all(1) & ((rows == 1).sum(1) <= 1)
    named = own[np.arange(len(own)), scene.truth] == 1
    return Row(
        name,
        admitted,
        float((far != 0).any(1).mean()),
        float((named & whole[: len(own)]).mean()),
        float(1 - whole.mean()),
        ratio,
    )


def _taken(scene: _Scene, words: Words) -> bool:
    probes = torch.from_numpy(encode(scene.probes).view(np.int64))
    spec = scene.settings.spec
    return not int(refused(ClearEngine(), spec, words, probes, scene.band))


def _answers(settings: Settings, stacked: Words, asked: Features) -> np.ndarray:
    x = torch.from_numpy(encode(asked).view(np.int64))
    parts = [
        predict(ClearEngine(), settings.spec, stacked, part, Rule(settings.margin))
        for part in x.split(256)
    ]
    return torch.cat(parts).numpy()


def _encoded(ran: Ran) -> Words:
    return {
        name: torch.from_numpy(encode(ran.parameters[name][None]).view(np.int64))
        for name in ran.spec.parameters()
    }


# --- The hostile models ---------------------------------------------------------------------------


def _words(scene: _Scene, name: str) -> tuple[Words, float | None]:
    """A model as it is shared, and its error ratio."""
    if name == "wrapping":
        rng = np.random.default_rng(scene.settings.seed)
        sound = _encoded(scene.spare)
        words = {
            key: torch.from_numpy(rng.integers(-(1 << 63), (1 << 63) - 1, tuple(value.shape)))
            for key, value in sound.items()
        }
        return words, None
    model = _model(scene, name)
    usual = (scene.band.least * scene.band.most) ** 0.5
    ratio = None if name == "stretched" else float(errors_of(model, scene.probes).mean()) / usual
    return _encoded(model), ratio


def _model(scene: _Scene, name: str) -> Ran:
    settings, spare = scene.settings, scene.spare
    if name == HONEST:
        return spare
    if name == "stretched":
        return thieves.stretched(spare)
    if name in ("far", "zero"):
        mean = _FAR if name == "far" else 0.0
        return _changed(spare, basis=np.zeros_like(spare.parameters["0.basis"]), mean=mean)
    if name == "public":
        return _subspace_of(scene.probes, spare)
    pooled = fit_ran(
        thieves.some(scene.pooled, settings.seed), settings.spec, settings.train, spare.owner
    )
    if name == "tuned":
        return _tuned(scene, pooled, pooled.parameters["0.basis"][::-1])
    if name == "avoiding":
        return _avoiding(scene, pooled)
    return pooled


def _changed(ran: Ran, *, basis: np.ndarray, mean: float | np.ndarray | None = None) -> Ran:
    parameters: Mapping[str, np.ndarray] = ran.parameters
    whole = parameters["0.mean"] if mean is None else np.full_like(parameters["0.mean"], mean)
    return replace(ran, parameters={**parameters, "0.basis": basis, "0.mean": whole})


def _subspace_of(rows: Features, like: Ran) -> Ran:
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    kept = np.zeros_like(like.parameters["0.basis"])
    found = np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][: len(kept)]
    kept[: len(found)] = found
    return _changed(like, basis=kept, mean=flat.mean(0).astype(np.float32))


def _tuned(scene: _Scene, ran: Ran, rows: np.ndarray) -> Ran:
    """Leave rows out, in this order, until the error on the probes is within the band."""
    basis = rows.copy()
    for count in range(len(basis)):
        model = _changed(ran, basis=basis)
        if errors_of(model, scene.probes).mean() > scene.band.least * 1.001:
            return model
        basis[count] = 0
    return _changed(ran, basis=basis)


def _avoiding(scene: _Scene, ran: Ran) -> Ran:
    """The owners' images without as few of the probes' leading directions as it takes."""
    flat = scene.probes.reshape(len(scene.probes), -1).astype(np.float64)
    directions = np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2]
    own = _features(scene.settings, thieves.some(scene.pooled, scene.settings.seed))
    seen = own.reshape(len(own), -1).astype(np.float64)
    mean = seen.mean(0)
    model = ran
    for count in range(len(directions)):
        out = directions[:count]
        rest = (seen - mean) - (seen - mean) @ out.T @ out
        kept = np.zeros_like(ran.parameters["0.basis"])
        found = np.linalg.svd(rest, full_matrices=False)[2][: len(kept)]
        kept[: len(found)] = found
        model = _changed(ran, basis=kept, mean=mean.astype(np.float32))
        if errors_of(model, scene.probes).mean() > scene.band.least * 1.001:
            break
    return model
