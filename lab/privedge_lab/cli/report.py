"""`privedge report`: one page out of stored results. See docs/reference/report.md."""

import json
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption
from privedge.cli.progress import progress_bar

if TYPE_CHECKING:
    from privedge_lab.report.page import Page
    from privedge_lab.report.reader import Found

_TITLE = "Private prediction: what it costs and what it buys"


def register(app: typer.Typer) -> None:
    """Add `report`."""
    app.command("report")(_report)


def _report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Where results files are, at any depth.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.html", help="The page to write.")],
    title: Annotated[str, typer.Option("--title", help="The page's heading.")] = _TITLE,
    as_json: JsonOption = False,
) -> None:
    """One HTML page out of stored results: utility, privacy and cost side by side.

    Reads what `privedge evaluate`, `attack` and `split sweep` stored and what `privedge bench
    --json` printed, and the pictures beside it; measures nothing. The page needs no network and no
    script. It shows reconstructed images if there are any: give it to who may see them.

    \b
    Example:
      privedge report results/ attacks/ --out report.html
    """
    from privedge import private_file
    from privedge_lab import outputs
    from privedge_lab.report import page, reader

    started = perf_counter()
    outputs.require_replaceable(out, outputs.PAGE)
    found = reader.read(folders)
    with progress_bar() as progress:
        made = page.render(found, title, progress)
    private_file.write(out, made.html)
    for each in made.skipped:
        print(f"privedge report: {each.shown} {each.why}", file=sys.stderr)
    _print(found, made, out, perf_counter() - started, as_json)


def _print(found: "Found", made: "Page", out: Path, seconds: float, as_json: bool) -> None:
    if as_json:
        files = [
            {"file": each.shown, "experiment": each.experiment, "rows": len(each.rows)}
            for each in found.sources
        ]
        skipped = [{"file": each.shown, "why": each.why} for each in made.skipped]
        print(
            json.dumps(
                {
                    "file": str(out),
                    "bytes": len(made.html),
                    "seconds": round(seconds, 2),
                    "figures": made.figures,
                    "results": files,
                    "skipped": skipped,
                }
            )
        )
        return
    print(
        f"{out}: {made.figures} figures of {len(found.sources)} results files, "
        f"{len(made.html) / 1e6:.1f} MB, in {seconds:.1f} s"
    )
