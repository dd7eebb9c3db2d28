"""`privedge train-all`: train one RAN for each folder or label, in parallel on one device."""

import json
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privedge.cli.ending import nothing_left_running
from privedge.cli.options import (
    DEFAULT_CONFIG,
    ChannelsOption,
    ConfigOption,
    DetectorOption,
    EncoderOption,
    EncryptOption,
    JoinOption,
    JsonOption,
    KeyFileOption,
    LargestFaceOption,
    ProcessesOption,
    SkipBadOption,
    SpecOption,
    StrictQualityOption,
    UnitLengthOption,
    care,
    lock_to_write,
    path,
    public_files,
    require_used,
    to_join,
    warn_of_template,
)
from privedge.cli.progress import Bars, progress_bar

if TYPE_CHECKING:
    from privedge.ran.spec import RanSpec
    from privedge.user.many import Job
    from privedge.user.sealed import Lock
    from privedge.user.settings import TrainSettings


def register(app: typer.Typer) -> None:
    """Add `train-all`."""
    app.command("train-all")(_train_all)


def _train_all(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER|FILE.npz",
            parser=path,
            help="One folder of images for each owner, or images or vectors with labels.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", parser=path, help="Where OWNER.ran files go."),
    ],
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="The architecture; auto: by image size.")
    ] = "auto",
    components: Annotated[
        int | None, typer.Option("--components", help="Components of a subspace preset.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed, the same RANs.")] = 0,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Training steps, if not the preset's.")
    ] = None,
    threshold_quantile: Annotated[
        float | None,
        typer.Option(
            "--threshold-quantile",
            help="Also refuse images whose error is above this quantile of the owner's own. Keeps "
            "few strangers out: 68 to 76 % of them passed. A margin and public rivals do better.",
        ),
    ] = None,
    channels: ChannelsOption = None,
    unit_length: UnitLengthOption = None,
    cohort: JoinOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    encoder: EncoderOption = None,
    detector: DetectorOption = None,
    largest_face: LargestFaceOption = False,
    spec_file: SpecOption = None,
    skip_bad: SkipBadOption = False,
    strict_quality: StrictQualityOption = False,
    processes: ProcessesOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep what is trained already, go on with the rest.")
    ] = False,
    encrypt: EncryptOption = False,
    key_file: KeyFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train one RAN for each folder in FOLDER, named like it. Nothing leaves this device.

    From an npz, train one RAN for each of its labels, named like the label. Names have letters,
    digits, dots, underscores and hyphens only: Ana María is ana-maria. With --skip-bad, owners of
    whom no picture can be used are left out and named; the exit code is then 1.

    For a device that keeps several owners' images. Each model learns from its owner's images only;
    auto goes by all images together, so that all models fit one cohort.

    auto picks a small network by image size, trained against a discriminator (ran32-fine,
    ran64-fine). subspace* is a linear reconstructor without a discriminator; auto picks it where
    an owner has fewer than five pictures, for words of handwriting, and with --components.

    \b
    Examples:
      privedge train-all people/ --out models/
      privedge train-all people/ --out models/ --preset ran32 --processes 4 --resume
      privedge train-all vectors.npz --out models/
    """
    from privedge.ran.alignment import aligner_for
    from privedge.ran.sets import by_owner, faces_of
    from privedge.user.architecture import spec_for, takes_vectors
    from privedge.user.quality import heed_flaws_of_all
    from privedge.user.settings import settings_for

    changes: dict[str, Any] = {"seed": seed, "threshold_quantile": threshold_quantile}
    files = public_files(encoder, cohort, config, detector=detector)
    changes |= {"files": files, "largest_face": largest_face} | ({"steps": steps} if steps else {})
    lock = lock_to_write(encrypt, key_file)
    wanted = to_join(cohort, config, preset, spec_file)
    sets = by_owner(folder, skip_bad=skip_bad, as_vectors=takes_vectors(wanted))
    names = _named(sets.found)  # before anything is written
    spec = spec_for(
        *sets.found.values(),
        preset=wanted,
        components=components,
        channels=channels,
        unit_length=unit_length,
        files=files,
    )
    require_used(spec, encoder, detector, largest_face)
    settings = settings_for(spec, **changes)
    warn_of_template(spec, lock)
    aligner = aligner_for(spec, files, largest=largest_face)
    started = time.monotonic()
    with nothing_left_running(), progress_bar() as progress:
        cut: dict[str, Any] = {}
        if aligner is not None:
            sets, cut = faces_of(sets, spec.image_shape, aligner, progress)
        heed_flaws_of_all(sets.found, cut, spec, files=files, care=care(strict_quality))
        images: Mapping[str, Any] = cut or {
            owner: given.source(spec.image) for owner, given in sets.found.items()
        }
        jobs = _jobs(images, names, out, spec, settings, lock)
        reused = _trained(jobs, processes, resume, progress)
    _summarise(jobs, reused, time.monotonic() - started, sets.left_out, as_json)
    if sets.left_out:
        raise typer.Exit(1)


def _trained(
    jobs: "list[Job]", processes: int | None, resume: bool, progress: Bars
) -> dict[str, bool]:
    """Train, and say of each owner whether the model was there already."""
    from privedge.user.many import cores, train_all

    reused: dict[str, bool] = {}
    done = train_all(jobs, processes=processes or cores(), resume=resume, watch=progress.owner)
    with closing(done):
        progress("train", 0, len(jobs))
        for each in done:
            reused[each.owner] = each.reused
            progress("train", len(reused), len(jobs))
    return reused


def _named(owners: "Mapping[str, Any]") -> dict[str, str]:
    from privedge.identity.names import mapped, owner_names

    names = owner_names(list(owners))
    if said := mapped(names):
        print(f"privedge: note: {said}", file=sys.stderr)
    return names


def _jobs(
    owners: "Mapping[str, Any]",
    names: dict[str, str],
    out: Path,
    spec: "RanSpec",
    settings: "TrainSettings",
    lock: "Lock | None",
) -> "list[Job]":
    from privedge.errors import CheckpointError
    from privedge.user.many import Job

    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{out}: cannot be created ({error.strerror})") from None
    return [
        Job(names[given], images, spec, settings, out / f"{names[given]}.ran", lock)
        for given, images in owners.items()
    ]


def _summarise(
    jobs: "list[Job]",
    reused: dict[str, bool],
    seconds: float,
    left_out: dict[str, str],
    as_json: bool,
) -> None:
    from privedge.user import checkpoint

    rows: list[dict[str, Any]] = []
    for job in jobs:
        facts = checkpoint.load(job.out, job.lock).facts
        rows.append(
            {
                "owner": job.owner,
                "file": str(job.out),
                "images": int(facts["images"]),
                "steps": int(facts["steps"]),
                "validation_mse": checkpoint.validation_error(facts),
                "reused": reused[job.owner],
            }
        )
    name = jobs[0].spec.name
    if as_json:
        gone = [{"owner": owner, "reason": reason} for owner, reason in left_out.items()]
        said = {"preset": name, "owners": rows, "left_out": gone, "seconds": round(seconds, 3)}
        print(json.dumps(said))
        return
    for row in rows:
        there = ", was there" if row["reused"] else ""
        trained = checkpoint.training_in_words(
            jobs[0].spec, row["images"], row["steps"], row["validation_mse"]
        )
        print(f"{row['file']}: {trained}{there}")
    for owner, reason in left_out.items():
        print(f"{owner}: left out, {reason}")
    without = f", {len(left_out)} left out" if left_out else ""
    print(f"{len(rows)} owners{without}, {name}, {seconds:.1f} s")
