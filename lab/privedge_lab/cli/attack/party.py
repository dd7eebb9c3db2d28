"""`privedge attack party`: what one MPC party learns of a private query."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption, command_line
from privedge.cli.progress import progress_bar
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.results.rows.party import PartyRow

DataOption = Annotated[
    Path, typer.Option("--data", metavar="FILE.npz", help="images (uint8) and labels.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Keep the rows in this JSON file.")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the file of --out.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of images, models, attackers.")]


def register(group: typer.Typer) -> None:
    """Add `attack party`."""
    group.command("party")(_party)


def _party(
    data: DataOption,
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAMES", help="RAN presets, separated by commas.")
    ] = "subspace32,conv32",
    owners: Annotated[int, typer.Option("--owners", min=2, help="Models in the cohort.")] = 2,
    known: Annotated[
        int, typer.Option("--known", min=100, help="Queries of its own to learn from.")
    ] = 1000,
    queries: Annotated[int, typer.Option("--queries", min=20, help="Queries to attack.")] = 300,
    seed: SeedOption = 0,
    out: OutOption = None,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Inversion and attribute attacks on what ONE party sees; no better than guessing is right.

    Runs both parties in this process and records them, so the images should be public ones. The
    rows of party "both" are what the same attacks reach with both parties' views.

    \b
    Example:
      privedge attack party --data mnist_28.npz --preset subspace32,ran32
    """
    from privedge_lab import datasets
    from privedge_lab.evaluation import party_view
    from privedge_lab.results.rows.party import PartyRow
    from privedge_lab.results.store import Results

    names = [name.strip() for name in preset.split(",")]
    settings = {"data": data.name, "owners": owners, "known": known, "queries": queries}
    results = Results(party_view.EXPERIMENT, settings, out, resume=resume, command=command_line())
    parts = datasets.split(datasets.read(data), seed=seed)
    with progress_bar() as progress:
        for name in names:
            chosen = party_view.PartySettings(name, owners, known, queries, seed)
            list(party_view.measure(chosen, parts.train, parts.test, results, progress))
    if as_json:
        print(json.dumps(results.document()))
        return
    _table(results.read(PartyRow))


def _table(rows: "list[PartyRow]") -> None:
    """Of each attack on each party, the row that did best; `--json` has them all."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    titles = ("preset", "party", "attack", "best reading", "score", "guessing", "sigmas")
    table = Table(*titles, box=box.SIMPLE)
    best: dict[tuple[str, str, str], PartyRow] = {}
    for row in rows:
        key = (row.preset or "", row.party or "", row.attack or "")
        if key not in best or (row.sigmas or 0.0) > (best[key].sigmas or 0.0):
            best[key] = row
    for (name, party, attack), row in sorted(best.items(), key=lambda each: each[0]):
        score = f"{shown(row.psnr_db, '.2f')} dB"
        guess = f"{shown(row.mean_image_psnr_db, '.2f')} dB"
        if attack == "attribute":
            score, guess = shown(row.accuracy, ".1%"), shown(row.majority, ".1%")
        reading, sigmas = f"{row.reading}, {row.encoding}", shown(row.sigmas, ".1f")
        table.add_row(name, party, attack, reading, score, guess, sigmas)
    Console().print(table)
