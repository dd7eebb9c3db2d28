"""`privedge attack coalition`: what each group that may collude makes of released answers."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from privedge.cli.options import JsonOption
from privedge_lab.cli import experiment
from privedge_lab.cli.attack.options import SeedOption


def register(group: typer.Typer) -> None:
    """Add `attack coalition`."""
    group.command("coalition")(_coalition)


def _coalition(
    owners: Annotated[
        int, typer.Option("--owners", min=2, max=16, help="Models in each cohort.")
    ] = 10,
    queries: Annotated[int, typer.Option("--queries", min=1, help="Each to a cohort anew.")] = 20,
    unreleased: Annotated[
        bool, typer.Option("--unreleased", help="Attack shares as they were before their release.")
    ] = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """One party, or the dealer, with clients and owners; no better than guessing is right.

    Runs parties and dealer in this process on made models and queries. Shares are released under a
    key that no dealer has; `--unreleased` shows what the same attacks find without that.

    \b
    Example:
      privedge attack coalition --queries 100
    """
    from privedge_lab.evaluation import coalition

    settings = coalition.CoalitionSettings(owners, queries, unreleased, seed)
    rows = experiment.once(lambda bars: coalition.rows(settings, bars))
    if as_json:
        print(json.dumps({"rows": [asdict(row) for row in rows]}))
        return
    titles = ("who works together", "target", "recovered", "guessing", "tries")
    lines = (
        (row.coalition, row.target, f"{row.recovered:.1%}", f"{row.guessing:.1e}", row.tries)
        for row in rows
    )
    experiment.table(titles, lines)
