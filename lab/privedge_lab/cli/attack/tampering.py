"""`privedge attack tampering`: do clients notice an operator who changes messages?"""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption
from privedge.cli.progress import Bars
from privedge_lab.cli import experiment
from privedge_lab.cli.attack.options import SeedOption

if TYPE_CHECKING:
    from privedge_lab.evaluation.tampering import TamperingRow


def register(group: typer.Typer) -> None:
    """Add `attack tampering`."""
    group.command("tampering")(_tampering)


def _tampering(
    tries: Annotated[
        int, typer.Option("--tries", min=1, help="Questions, for each deviation and setting.")
    ] = 200,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Change messages of party 0, party 1 or the dealer, with and without canaries.

    Runs both parties and the dealer in this process on a made cohort. It tells how often a client
    gets a wrong answer and does not notice, and how often it notices something.

    \b
    Example:
      privedge attack tampering --tries 400 --json
    """
    from privedge_lab.evaluation import tampering

    def measured(bars: Bars) -> "list[TamperingRow]":
        return list(tampering.rows(seed, tries, bars))

    rows = experiment.once(measured)
    if as_json:
        print(json.dumps({"rows": [asdict(row) for row in rows]}))
        return
    experiment.table(
        ("who", "what", "integrity", "tries", "wrong, undetected", "caught"),
        [
            (row.who, row.what, row.integrity, row.tries, f"{row.wrong_undetected:.1%}",
             f"{row.caught:.1%}")
            for row in rows
        ],
    )  # fmt: skip
