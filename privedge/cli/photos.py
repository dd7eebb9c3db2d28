"""`privedge photos`: look at pictures without training."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption, SkipBadOption, path

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
    as_json: JsonOption = False,
) -> None:
    """Say for each owner what is wrong with the pictures, without training.

    Too few, nearly the same, too dark, too bright, without contrast, blurred, or one that is unlike
    all others. Nothing leaves this device.

    \b
    Examples:
      privedge photos check people/
      privedge photos check people/ana/ --json
    """
    from privedge.user.quality import flaws

    found = [
        (name, len(given.names), flaws(given))
        for name, given in _owners(folder, skip_bad=skip_bad).items()
    ]
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
