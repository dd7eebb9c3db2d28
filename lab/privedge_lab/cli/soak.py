"""`privedge bench soak`: very many queries, and what the servers keep of them."""

import json
from collections.abc import Mapping
from typing import Annotated

import typer

from privedge.cli.options import EncoderOption, JsonOption, SpecOption
from privedge_lab.cli import experiment


def soak(
    queries: Annotated[int, typer.Option("--queries", min=1, help="Queries in all.")] = 10_000,
    clients: Annotated[
        int, typer.Option("--clients", min=1, max=1000, help="That ask at the same time.")
    ] = 8,
    encoder: EncoderOption = None,
    spec_file: SpecOption = None,
    as_json: JsonOption = False,
) -> None:
    """Wrong and failed answers of very many queries; growth of memory, descriptors and threads.

    Every client asks something else, and knows the right answer. Exits with 1 after a wrong or
    failed one.

    \b
    Example:
      privedge bench soak --queries 10000 --clients 100 --json
    """
    from privedge.ran import spec_file as specs
    from privedge.ran.public_files import PublicFiles
    from privedge_lab.bench.soak import PRESET
    from privedge_lab.bench.soak import soak as run

    wanted = PRESET if spec_file is None else specs.read(spec_file)
    files = PublicFiles.at(encoder=encoder)
    (found,) = experiment.once(lambda bars: [run(queries, clients, bars, wanted, files)])
    if as_json:
        print(json.dumps(found))
    else:
        _print(found)
    if found["wrong"] or found["failed"]:
        raise typer.Exit(1)


def _print(found: Mapping[str, float]) -> None:
    print(
        f"{found['queries']} queries, {found['wrong']} wrong, {found['failed']} failed; "
        f"per 1,000 queries {found['rss_mb_per_1000']:+.2f} MB; "
        f"{found['fds_growth']:+d} descriptors, {found['threads_growth']:+d} threads"
    )
