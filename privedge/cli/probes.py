"""`privedge probes`: make the public probes that new models are checked with."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    require_used,
    to_join,
)
from privedge.cli.progress import progress_bar

if TYPE_CHECKING:
    from privedge.user.model_check import Found


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
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", parser=path, help="The file to write.")
    ],
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="DIR|FILE.npz",
            parser=path,
            help="Further public pictures or vectors, of anybody, to be probes.",
        ),
    ] = None,
    deviations: Annotated[
        float,
        typer.Option(
            "--deviations",
            min=1,
            max=20,
            help="How far below the usual error a model's may be, in standard deviations.",
        ),
    ] = 2.25,
    margin: Annotated[
        float, typer.Option("--margin", min=0.01, max=1, help="The cohort's margin.")
    ] = 0.7,
    most_won: Annotated[
        float,
        typer.Option(
            "--most-won",
            min=0,
            max=1,
            help="The share of probes on which a new model may be named among the people.",
        ),
    ] = 0.05,
    asked: Annotated[
        int,
        typer.Option(
            "--asked", min=1, max=256, help="How many probes are drawn to check one model."
        ),
    ] = 256,
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
    """Make public probes and what errors on them may be, for both operators of a cohort.

    The people's pictures are the probes, and a model is trained for each of them. New models must
    reconstruct the probes about as well as theirs do, and must be named on few of them. Some are
    drawn to check each model. Both operators name the same file in [cohorts.model_check]:
    probes = "FILE".

    \b
    Example:
      privedge probes make --people public/ --preset subspace64 --out probes.npz
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
    owners, pictures = (
        people.by_person(people_of, skip_bad=skip_bad),
        people.of_anybody(images) if images else [],
    )
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
    with progress_bar() as progress:
        settings = settings_for(spec, **changes)
        choice = model_check.Choice(deviations, margin, most_won, asked)
        found = model_check.make(owners, pictures, settings, spec, progress, choice)
    probes.write(out, found.probes, spec)
    _show(out, found, len(owners), as_json=as_json)


def _show(out: Path, found: "Found", people: int, *, as_json: bool) -> None:
    rule, low, high = found.probes.rule, float(found.ratios.min()), float(found.ratios.max())
    band, won = rule.band, float(found.won.max())
    if as_json:
        facts: dict[str, Any] = {"probes": len(found.probes), "people": people}
        facts |= {"least": band.least, "most": band.most, "ratios": [low, high]}
        facts |= {"most_won": rule.most_won, "won": won, "asked": rule.asked}
        facts |= {"sha256": found.probes.digest}
        print(json.dumps({"file": str(out), **facts}))
        return
    print(
        f"{out}: {len(found.probes)} probes, of which {rule.asked} are asked; band "
        f"{band.least:.3f} to {band.most:.3f} of the usual errors; {people} people from {low:.3f} "
        f"to {high:.3f}, and named on at most {won:.2%} of the probes ({rule.most_won:.2%} are "
        f"allowed); digest {found.probes.digest}"
    )
