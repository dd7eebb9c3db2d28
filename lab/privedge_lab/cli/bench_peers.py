"""`privedge bench peers`: the same query by SPU's protocols, in turn with ours."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption, path
from privedge_lab.cli import experiment
from privedge_lab.cli.bench_rows import counts, names, show
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.results.rows.bench import PeerRow


def peers(
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAMES", help="Architectures, separated by commas.")
    ] = "conv32",
    owners: Annotated[
        str,
        typer.Option("--owners", metavar="COUNTS", help="Models in the cohort; a comma list."),
    ] = "1",
    queries: Annotated[int, typer.Option("--queries", min=1, help="Warm queries to time.")] = 5,
    systems: Annotated[
        str,
        typer.Option(
            "--systems",
            metavar="NAMES",
            help="privedge-two-party, privedge-dealer, spu-cheetah, spu-semi2k; asked in turn.",
        ),
    ] = "privedge-two-party,privedge-dealer,spu-cheetah,spu-semi2k",
    environment: Annotated[
        Path | None,
        typer.Option(
            "--environment",
            metavar="DIR",
            parser=path,
            help="A virtual environment with SPU. One that is not there is made, and stays.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Seconds and bytes of a query that makes all it needs while it runs, beside SPU's protocols.

    SPU is installed from the package registry, 1 GB, into a virtual environment of its own, which
    is removed afterwards unless it has a name. Linux; Python 3.10 or 3.11 must be there.

    \b
    Example:
      privedge bench peers --preset conv32 --owners 1 --environment build/spu --json
    """
    from privedge_lab.bench import peers

    loads = [
        peers.Workload(tuple(names(systems)), name, count, queries, environment)
        for name, count in product(names(preset), counts(owners))
    ]
    for load in loads:
        peers.check(load)
    found = experiment.once(
        lambda bars: (row for load in loads for row in peers.measure(load, bars))
    )
    show("bench peers", found, as_json, _table)


def _table(found: list["PeerRow"]) -> None:
    experiment.table(
        ("system", "preset", "owners", "s", "MB", "largest error"),
        [
            (
                *(row.system, row.preset, row.owners),
                shown(row.seconds, ".3f"),
                shown(row.bytes, ".2f", per=1e6),
                shown(row.max_error, ".1e"),
            )
            for row in found
        ],
    )
