"""`privedge photos`: look at pictures without training."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privedge.cli.options import (
    DEFAULT_CONFIG,
    ConfigOption,
    DetectorOption,
    EncoderOption,
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

if TYPE_CHECKING:
    from privedge.ran.quality import Flaw
    from privedge.ran.sets import Sets


def register(app: typer.Typer) -> None:
    """Add `photos check`."""
    group = typer.Typer(
        name="photos",
        help="Look at pictures before training.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("check")(_check)
    app.add_typer(group)


def _check(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER|FILE.npz",
            parser=path,
            help="A folder of images for each owner, or those of one; or an npz with labels.",
        ),
    ],
    skip_bad: SkipBadOption = False,
    strict_quality: Annotated[
        bool, typer.Option("--strict-quality", help="Exit with 1 if anything is wrong.")
    ] = False,
    preset: Annotated[
        str,
        typer.Option("--preset", metavar="NAME", help="The architecture, if it has an encoder."),
    ] = "auto",
    encoder: EncoderOption = None,
    detector: DetectorOption = None,
    largest_face: LargestFaceOption = False,
    spec_file: SpecOption = None,
    cohort: JoinOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Say for each owner what is wrong with the pictures, without training.

    Too few, nearly the same, too dark, too bright, without contrast, blurred, one that is unlike
    all others, or one that another owner has too. Behind a public encoder, also which one shows
    another person or no face, as `train` says it. Nothing leaves this device. With --skip-bad,
    owners of whom no picture can be used are named, and the exit code is 1.

    \b
    Examples:
      privedge photos check people/
      privedge photos check people/ana/ --json
      privedge photos check people/ --preset face --encoder e.onnx --detector d.onnx
    """
    from privedge.ran.alignment import aligner_for
    from privedge.ran.sets import faces_of
    from privedge.user.architecture import spec_for, takes_vectors
    from privedge.user.quality import flaws_of_all

    wanted = to_join(cohort, config, preset, spec_file)
    files = public_files(encoder, cohort, config, detector=detector)
    if wanted == "auto" and files.encoder is None and (detector is not None or largest_face):
        raise typer.BadParameter(
            "only behind an encoder faces are looked for; give --encoder, or leave it out",
            param_hint="--detector and --largest-face",
        )
    sets, spec = _sets(folder, skip_bad=skip_bad, as_vectors=takes_vectors(wanted)), None
    inputs: dict[str, Any] = {}
    of_vectors = any(given.vector_size is not None for given in sets.found.values())
    if wanted != "auto" or files.encoder is not None or of_vectors:
        spec = spec_for(*sets.found.values(), preset=wanted, files=files)
        require_used(spec, encoder, detector, largest_face)
        aligner = aligner_for(spec, files, largest=largest_face)
        if aligner is not None:
            sets, inputs = faces_of(sets, spec.image_shape, aligner, lambda *_: None)
        else:
            inputs = {owner: given.at(spec.image) for owner, given in sets.found.items()}
    found = [
        (owner, len(sets.found[owner].names), wrong)
        for owner, wrong in flaws_of_all(sets.found, inputs, spec, files).items()
    ]
    (_print_json if as_json else _print_table)(found, sets.left_out)
    if sets.left_out or (strict_quality and any(wrong for _, _, wrong in found)):
        raise typer.Exit(1)


def _sets(folder: Path, *, skip_bad: bool, as_vectors: bool | None) -> "Sets":
    """Each owner's pictures: those of each folder in `folder`, or else those in it."""
    from privedge.ran import images
    from privedge.ran.inputs import is_npz, measured, opened
    from privedge.ran.sets import Sets, by_owner

    if is_npz(folder) or (
        folder.is_dir() and images.subfolders(folder) and not images.listed(folder)
    ):
        return by_owner(folder, skip_bad=skip_bad, as_vectors=as_vectors)
    only = opened(folder, skip_bad=skip_bad, as_vectors=as_vectors)
    measured(only)  # names bad files, or leaves them out
    return Sets({folder.resolve().name: only})


def _print_json(found: "list[tuple[str, int, list[Flaw]]]", left_out: dict[str, str]) -> None:
    rows = [
        {
            "owner": owner,
            "count": count,
            "flaws": [{"kind": f.kind, "line": f.text, "files": f.files} for f in wrong],
        }
        for owner, count, wrong in found
    ]
    without = [{"owner": owner, "reason": reason} for owner, reason in left_out.items()]
    print(json.dumps({"owners": rows, "left_out": without}))


def _print_table(found: "list[tuple[str, int, list[Flaw]]]", left_out: dict[str, str]) -> None:
    width = max(map(len, ["owner", *(owner for owner, _, _ in found), *left_out]))
    print(f"{'owner':<{width}}     count  what is wrong")
    for owner, count, wrong in found:
        lines = [flaw.text for flaw in wrong] or ["nothing"]
        print(f"{owner:<{width}}  {count:>8}  {lines[0]}")
        for line in lines[1:]:
            print(f"{'':<{width}}  {'':>8}  {line}")
    for owner, reason in left_out.items():
        print(f"{owner:<{width}}  {'-':>8}  left out, {reason}")
