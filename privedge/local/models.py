"""Train a model for each owner of a folder of pictures, again only if its pictures have changed.

Sees all owners' pictures and models.
"""

import hashlib
import json
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

import privedge
from privedge.arrays import Vectors
from privedge.errors import CheckpointError
from privedge.local.homes import Home
from privedge.local.pictures import Owner, Pictures
from privedge.progress import Progress
from privedge.ran import features, presets
from privedge.ran.inputs import Opened
from privedge.ran.named_spec import spec_named
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.ran.spec import RanSpec
from privedge.user import checkpoint, own_images
from privedge.user.architecture import check_for_pictures, spec_for
from privedge.user.many import Job, Watch, cores, train_all
from privedge.user.settings import TrainSettings, settings_for

# With one owner there is no other model to compare with, so the owner's threshold decides. It is
# the error of the worst held-out picture.
_QUANTILE_ALONE = 1.0


@dataclass(frozen=True)
class Plan:
    """What to train: one architecture and the same settings for all owners."""

    owners: tuple[Owner, ...]
    spec: RanSpec
    settings: TrainSettings

    @property
    def origins(self) -> dict[str, str]:
        """For each owner, a digest of everything that the model depends on."""
        settings = asdict(self.settings) | {"files": None}  # the spec has their digests
        common = [privedge.__version__, self.spec.digest(), settings]
        return {owner.name: digest_of(common, owner.name, owner.digest) for owner in self.owners}

    def held_out(self, owner: Owner) -> tuple[Path, ...] | Vectors:
        """Return the owner's pictures, or vectors, from which the model does not learn."""
        _, places = own_images.halves(np.arange(owner.count), self.settings)
        if owner.vectors is not None:
            return owner.vectors[places]
        return tuple(owner.files[place] for place in places)


def require_usable(preset: str | RanSpec, files: PublicFiles) -> RanSpec | None:
    """Raise ConfigError for an unknown preset or a file that cannot be used.

    Returns the spec, which for a preset is that of small pictures, and None for one of vectors,
    whose size is not known yet.
    """
    if preset == presets.VECTOR:
        return None
    spec = preset
    if isinstance(spec, str):
        spec = spec_named(spec, height=1, width=1, channels=1, files=files)
    features.require_files(spec, files)
    return spec


def plan(
    found: Pictures,
    preset: str | RanSpec,
    files: PublicFiles = NO_FILES,
    *,
    largest_face: bool = False,
    unit_length: bool | None = None,
    rivals: bool = False,
) -> tuple[Plan, list[str]]:
    """Plan the training on `found`. Returns the plan and notes for people to read.

    rivals: whether the cohort has public rivals, which the notes then do not miss.

    Raises ConfigError for an unknown preset, and ImageError for one that does not fit.
    """
    spec = _spec(found, preset, files, unit_length)
    features.require_used(spec, files, largest_face=largest_face)
    alone = len(found.owners) == 1
    bounded = alone and len(found.owners[0].files) >= own_images.HELD_OUT_FROM
    quantile = _QUANTILE_ALONE if bounded else None
    settings = settings_for(
        spec, threshold_quantile=quantile, files=files, largest_face=largest_face
    )
    chosen = Plan(found.owners, spec, settings)
    notes = []
    if spec.image and 0 < found.grey < found.size.count and spec.image.channels == 3:
        notes.append(
            f"{found.grey} of {found.size.count} pictures are grey; all owners' models are for "
            "colour"
        )
    if alone and (said := _alone(chosen, bounded=bounded, rivals=rivals)):
        notes.append(said)
    return chosen, notes


def _alone(plan: Plan, *, bounded: bool, rivals: bool) -> str:
    """Say what the only owner is compared with; "" if public rivals decide alone."""
    only, what = plan.owners[0], "picture" if plan.spec.image else "vector"
    if bounded:
        too = " if it is nearer than every public rival, too" if rivals else ""
        return (
            f"{only.name} is the only owner, so there is nobody to compare with: a {what} that is "
            f"no farther from the model than the worst of {len(plan.held_out(only))} held-out "
            f"{what}s is accepted{too}, any other is unknown; with two owners or more the nearest "
            "one is named"
        )
    if rivals:
        return ""
    return (
        f"{only.name} is the only owner, without a bound and without public rivals, so every "
        f"{what} is accepted; add an owner, or give --rivals"
    )


def _spec(
    found: Pictures, preset: str | RanSpec, files: PublicFiles, unit_length: bool | None
) -> RanSpec:
    said = found.unit_length
    held = [
        Opened((), each.vectors, unit_length=said)
        for each in found.owners
        if each.vectors is not None
    ]
    if held:
        return spec_for(*held, preset=preset, unit_length=unit_length, files=files)
    if isinstance(preset, RanSpec):
        return preset
    check_for_pictures(preset, unit_length=unit_length)
    size = found.size
    return spec_named(
        preset,
        height=size.height,
        width=size.width,
        channels=size.channels,
        pictures=min(len(owner.files) for owner in found.owners),
        files=files,
    )


def train(plan: Plan, home: Home, progress: Progress, watch: Watch) -> None:
    """Train every model that is missing, damaged or made from something else; the others stay.

    Raises TrainingError, which names the owner. Models that were written by then stay.
    """
    origins, record = plan.origins, home.record
    known = [name for name, origin in record.models.items() if origins.get(name) == origin]
    home.remove_models_but([name for name in known if not _is_damaged(home.model(name))])
    home.write(replace(record, models=origins))
    jobs = [
        Job(owner.name, _source(owner), plan.spec, plan.settings, home.model(owner.name))
        for owner in plan.owners
        if not home.model(owner.name).exists()
    ]
    if jobs:
        progress("train", 0, len(jobs))
        with closing(train_all(jobs, processes=cores(), resume=True, watch=watch)) as done:
            for count, _ in enumerate(done, start=1):
                progress("train", count, len(jobs))


def _source(owner: Owner) -> tuple[Path, ...] | Vectors:
    return owner.files if owner.vectors is None else owner.vectors


def digest_of(*facts: object) -> str:
    """Return the SHA-256 (hex) of facts that JSON can represent."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _is_damaged(model: Path) -> bool:
    if not model.exists():  # perhaps half trained, which is kept
        return False
    try:
        checkpoint.load(model)
    except CheckpointError:
        return True
    return False
