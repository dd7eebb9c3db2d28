"""`privedge calibrate`: choose a cohort's margin by pictures of owners and of strangers."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privedge.cli.options import (
    DEFAULT_CONFIG,
    ChannelsOption,
    ConfigOption,
    DetectorOption,
    EncoderOption,
    JoinOption,
    JsonOption,
    LargestFaceOption,
    RivalsOption,
    SkipBadOption,
    SpecOption,
    path,
    public_files,
    require_used,
    to_join,
    without_effect,
)
from privedge.cli.progress import progress_bar

if TYPE_CHECKING:
    from privedge.user.calibrate import Calibration


def register(app: typer.Typer) -> None:
    """Add `calibrate`."""
    app.command("calibrate")(_calibrate)


def _calibrate(
    context: typer.Context,
    own: Annotated[
        Path,
        typer.Option(
            "--own",
            metavar="DIR|FILE.npz",
            parser=path,
            help="A folder of pictures for each owner, or an npz with labels.",
        ),
    ],
    strangers: Annotated[
        Path,
        typer.Option(
            "--strangers",
            metavar="DIR|FILE.npz",
            parser=path,
            help="Pictures or vectors of other people.",
        ),
    ],
    far: Annotated[
        float,
        typer.Option(
            "--far", metavar="SHARE", help="Of strangers, at most this share may be named."
        ),
    ] = 0.01,
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="The architecture; auto: by image size.")
    ] = "auto",
    components: Annotated[
        int | None, typer.Option("--components", help="Components of a subspace preset.")
    ] = None,
    channels: ChannelsOption = None,
    spec_file: SpecOption = None,
    cohort: JoinOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    encoder: EncoderOption = None,
    detector: DetectorOption = None,
    largest_face: LargestFaceOption = False,
    skip_bad: SkipBadOption = False,
    rivals_file: RivalsOption = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Training steps, if not the preset's.")
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Which pictures of the owners are held out.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Choose the margin of a cohort: the largest with which few enough strangers are named.

    Three tenths of each owner's pictures are held out and asked, the models learn from the others.
    TAR is the share of these that is named right, FAR the share of strangers that is named. The
    figures are of the pictures that the margin was chosen on; the "crossed" one is not. Without a
    margin that keeps enough strangers out, the exit status is 1.

    \b
    Example:
      privedge calibrate --own people/ --strangers others/ --far .01 --rivals rivals.npz
    """
    from privedge.ran import rivals
    from privedge.user import calibrate, people
    from privedge.user.settings import settings_for

    if not 0 < far < 1:
        raise typer.BadParameter("a share above 0 and below 1, as in .01", param_hint="--far")
    if cohort is None:
        without_effect(context, "says where a cohort is, and no --cohort is given", "config")
    files = public_files(encoder, cohort, config, detector=detector)
    owners, others = people.by_person(own, skip_bad=skip_bad), people.of_anybody(strangers)
    spec = people.spec_for(
        owners.values(),
        to_join(cohort, config, preset, spec_file),
        components=components,
        channels=channels,
        files=files,
    )
    require_used(spec, encoder, detector, largest_face)
    changes: dict[str, Any] = {"seed": seed, "files": files, "largest_face": largest_face}
    changes |= {"steps": steps} if steps else {}
    public = None if rivals_file is None else rivals.read(rivals_file, spec)
    with progress_bar() as progress:
        settings = settings_for(spec, **changes)
        ratios = calibrate.measure(owners, others, spec, settings, public, progress)
    found = calibrate.choose(ratios, far)
    named = {"preset": spec.name, "owners": len(owners), "rivals": len(public or ())}
    if as_json:
        print(json.dumps({**asdict(found), "far_wanted": far, **named}))
    else:
        _print(found, named, "pictures" if spec.image else "vectors")
    if found.margin is None:
        raise typer.Exit(1)


def _print(found: "Calibration", named: dict[str, Any], what: str) -> None:
    print(
        f"{named['owners']} owners, {named['rivals']} public rivals, {named['preset']}; "
        f"{found.asked} {what} of owners and {found.strangers} of strangers asked"
    )
    if found.margin is None or found.tar is None or found.far is None:
        print(f"no margin: {found.why}")
        return
    print(f"margin = {found.margin}")
    print(
        f"TAR {_share(found.tar, found.tar_interval)}, FAR {_share(found.far, found.far_interval)}"
    )
    if found.far_crossed is not None:
        print(f"FAR of strangers that a margin was not chosen on: {found.far_crossed:.4f}")


def _share(share: float, interval: tuple[float, float] | None) -> str:
    low, high = interval or (0.0, 1.0)
    return f"{share:.4f} (95 %: {low:.4f} to {high:.4f})"
