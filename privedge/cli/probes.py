"""`privedge probes`: make the public probes that new models are checked with."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from privedge.cli.options import (
    DEFAULT_CONFIG,
    ChannelsOption,
    ConfigOption,
    DetectorOption,
    EncoderOption,
    ForceOption,
    JoinOption,
    JsonOption,
    LargestFaceOption,
    SkipBadOption,
    SpecOption,
    path,
    public_files,
    to_join,
)
from privedge.cli.progress import progress_bar


def register(app: typer.Typer) -> None:
    """Add `probes`."""
    group = typer.Typer(
        no_args_is_help=True, help="Make the public probes that new models are checked with."
    )
    group.command("make")(_make)
    app.add_typer(group, name="probes")


def _make(
    people_of: Annotated[
        Path,
        typer.Option(
            "--people",
            metavar="DIR|FILE.npz",
            parser=path,
            help="Public people: a folder or label each, with as many pictures as owners have.",
        ),
    ],
    images: Annotated[
        Path,
        typer.Option(
            "--images",
            metavar="DIR|FILE.npz",
            parser=path,
            help="Public pictures or vectors: the probes. 256 of them are taken at most.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", parser=path, help="The file to write.")
    ],
    deviations: Annotated[
        float, typer.Option("--deviations", min=1, max=20, help="Half the width of the band.")
    ] = 4.0,
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="The cohort's architecture.")
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
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Training steps, if not the preset's.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which pictures are drawn.")] = 0,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make public probes and the band of errors on them, for both operators of a cohort.

    A model is trained for each of the people. New models must reconstruct the probes about as well
    as theirs do: not much better, and not much worse. Both operators name the same file in
    [cohorts.model_check]: probes = "FILE".

    \b
    Example:
      privedge probes make --people public/ --images others/ --preset subspace64 --out probes.npz
    """
    from privedge import private_file
    from privedge.errors import ConfigError
    from privedge.ran import probes
    from privedge.user import model_check, people
    from privedge.user.settings import settings_for

    private_file.require_writable(out)
    if out.exists() and not force:
        raise ConfigError(f"{out}: exists; choose another name, or replace it with --force")
    files = public_files(encoder, cohort, config, detector=detector)
    owners, pictures = people.by_person(people_of, skip_bad=skip_bad), people.of_anybody(images)
    spec = people.spec_for(
        owners.values(),
        to_join(cohort, config, preset, spec_file),
        components=components,
        channels=channels,
        files=files,
    )
    changes: dict[str, Any] = {"seed": seed, "files": files, "largest_face": largest_face}
    changes |= {"steps": steps} if steps else {}
    with progress_bar() as progress:
        settings = settings_for(spec, **changes)
        found = model_check.make(owners, pictures, settings, spec, progress, deviations=deviations)
    probes.write(out, found.probes, spec)
    band, low, high = found.probes.band, float(found.ratios.min()), float(found.ratios.max())
    if as_json:
        facts: dict[str, Any] = {"probes": len(found.probes), "people": len(owners)}
        facts |= {"least": band.least, "most": band.most, "ratios": [low, high]}
        facts |= {"sha256": found.probes.digest}
        print(json.dumps({"file": str(out), **facts}))
        return
    print(
        f"{out}: {len(found.probes)} probes, band {band.least:.4g} to {band.most:.4g}; "
        f"{len(owners)} people from {low:.3f} to {high:.3f} of their median; "
        f"digest {found.probes.digest}"
    )
