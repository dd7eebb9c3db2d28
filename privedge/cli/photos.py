"""`privedge photos`: look at pictures without training."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    to_join,
)

if TYPE_CHECKING:
    from privedge.ran.inputs import Opened
    from privedge.ran.quality import Flaw


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

    Too few, nearly the same, too dark, too bright, without contrast, blurred, or one that is unlike
    all others. Behind a public encoder, also which one shows another person or no face, as `train`
    says it. Nothing leaves this device.

    \b
    Examples:
      privedge photos check people/
      privedge photos check people/ana/ --json
      privedge photos check people/ --preset face --encoder e.onnx --detector d.onnx
    """
    from privedge.user import people
    from privedge.user.quality import flaws

    wanted = to_join(cohort, config, preset, spec_file)
    files = public_files(encoder, cohort, config, detector=detector)
    owners = _owners(folder, skip_bad=skip_bad)
    if wanted == "auto" and files.encoder is None:
        found = [(name, len(given.names), flaws(given)) for name, given in owners.items()]
    else:
        spec = people.spec_for(owners.values(), wanted, files=files)
        found = []
        for name, given in owners.items():
            inputs = people.inputs_of(given, spec, files, largest_face=largest_face)
            found.append((name, len(given.names), flaws(given, inputs, spec, files)))
    _print_json(found) if as_json else _print_table(found)
    if strict_quality and any(wrong for _, _, wrong in found):
        raise typer.Exit(1)


def _owners(folder: Path, *, skip_bad: bool) -> "dict[str, Opened]":
    """Each owner's pictures: those of each folder in `folder`, or else those in it."""
    from privedge.ran import images
    from privedge.ran.inputs import by_owner, is_npz, measured, opened

    if is_npz(folder) or (
        folder.is_dir() and images.subfolders(folder) and not images.listed(folder)
    ):
        return by_owner(folder, skip_bad=skip_bad)
    only = opened(folder, skip_bad=skip_bad)
    measured(only)  # names bad files, or leaves them out
    return {folder.resolve().name: only}


def _print_json(found: "list[tuple[str, int, list[Flaw]]]") -> None:
    rows = [
        {
            "owner": owner,
            "count": count,
            "flaws": [{"kind": f.kind, "line": f.text, "files": f.files} for f in wrong],
        }
        for owner, count, wrong in found
    ]
    print(json.dumps({"owners": rows}))


def _print_table(found: "list[tuple[str, int, list[Flaw]]]") -> None:
    width = max(len("owner"), *(len(owner) for owner, _, _ in found))
    print(f"{'owner':<{width}}     count  what is wrong")
    for owner, count, wrong in found:
        lines = [flaw.text for flaw in wrong] or ["nothing"]
        print(f"{owner:<{width}}  {count:>8}  {lines[0]}")
        for line in lines[1:]:
            print(f"{'':<{width}}  {'':>8}  {line}")
