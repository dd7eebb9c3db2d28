"""`privedge bench`: measure the system on this machine, with made-up models. See docs/bench.md."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privedge.cli.options import JsonOption

if TYPE_CHECKING:
    from privedge.bench import memory, query

PresetOption = Annotated[
    str, typer.Option("--preset", metavar="NAMES", help="Architectures, separated by commas.")
]
OwnersOption = Annotated[int, typer.Option("--owners", min=1, help="Models in the cohort.")]


def register(app: typer.Typer) -> None:
    """Add `bench query`, `bench upload`, `bench memory` and `bench train`."""
    group = typer.Typer(
        name="bench",
        help="Measure the system on this machine, with made-up models.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("query")(_query)
    group.command("upload")(_upload)
    group.command("memory")(_memory)
    group.command("train")(_train)
    app.add_typer(group)


def _query(
    preset: PresetOption = "subspace32,ran32",
    owners: OwnersOption = 10,
    batch: Annotated[int, typer.Option("--batch", min=1, max=64, help="Images a query.")] = 1,
    queries: Annotated[int, typer.Option("--queries", min=1, help="Warm queries to time.")] = 20,
    engine: Annotated[
        str, typer.Option("--engine", metavar="NAMES", help="Engines, separated by commas.")
    ] = "fused",
    as_json: JsonOption = False,
) -> None:
    """Seconds, rounds, bytes and CPU seconds of a private query, and whether it is right.

    \b
    Example:
      privedge bench query --preset subspace32 --owners 40 --json
    """
    from privedge.bench import query

    loads = [
        query.Workload(engine=each, preset=name, owners=owners, batch=batch, queries=queries)
        for name, each in product(_names(preset), _names(engine))
    ]
    with _progress_bar() as progress:
        rows = [query.measure(load, progress) for load in loads]
    if as_json:
        print(json.dumps({"engines": [asdict(row) for row in rows]}))
        return
    _query_table(rows)


def _upload(
    preset: PresetOption = "paper",
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Uploads to time.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """MB/s of a share: to one party, to both at once, and seconds of a whole upload.

    \b
    Example:
      privedge bench upload --preset paper
    """
    from privedge.bench import upload

    with _progress_bar() as progress:
        rows = [upload.measure(name, repeats, progress) for name in _names(preset)]
    if as_json:
        print(json.dumps({"uploads": [asdict(row) for row in rows]}))
        return
    _table(
        ("preset", "share MB", "one party MB/s", "both MB/s", "whole upload s"),
        [
            (
                row.preset,
                f"{row.share_mb:.1f}",
                f"{row.one_party_mb_s:.0f}",
                f"{row.both_mb_s:.0f}",
                f"{row.whole_s:.2f}",
            )
            for row in rows
        ],
    )


def _memory(
    preset: PresetOption = "subspace32", owners: OwnersOption = 10, as_json: JsonOption = False
) -> None:
    """Resident memory of every process, at rest and after a first query.

    \b
    Example:
      privedge bench memory --preset ran32
    """
    from privedge.bench import memory

    with _progress_bar() as progress:
        rows = [memory.measure(name, owners, progress) for name in _names(preset)]
    if as_json:
        print(json.dumps({"deployments": [asdict(row) for row in rows]}))
        return
    for row in rows:
        _memory_table(row)


def _train(
    preset: PresetOption = "subspace32,ran32",
    owners: Annotated[int, typer.Option("--owners", min=1, help="Owners to train for.")] = 3,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Training steps, if not the preset's.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Seconds to train one owner's model.

    \b
    Example:
      privedge bench train --preset ran32
    """
    from privedge.bench import training

    with _progress_bar() as progress:
        rows = [training.measure(name, owners, steps, progress) for name in _names(preset)]
    if as_json:
        print(json.dumps({"trainings": [asdict(row) for row in rows]}))
        return
    _table(
        ("preset", "images", "steps", "seconds an owner"),
        [(row.preset, row.images, row.steps, f"{row.seconds:.2f}") for row in rows],
    )


def _names(listed: str) -> list[str]:
    """Names separated by commas, in order."""
    names = [name.strip() for name in listed.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter("needs at least one name")
    return names


def _query_table(rows: Sequence["query.Measured"]) -> None:
    """One column a workload: there are more figures than columns fit on a terminal."""
    titles = ["per query", *(f"{row.preset} ({row.engine})" for row in rows)]
    figures: dict[str, Callable[[query.Measured], str]] = {
        "owners x images": lambda row: f"{row.owners} x {row.batch}",
        "first query, s": lambda row: f"{row.cold_s:.3f}",
        "median, s": lambda row: f"{row.median_s:.3f}",
        "p95, s": lambda row: f"{row.p95_s:.3f}",
        "online, s": lambda row: f"{row.online_s:.3f}",
        "rounds": lambda row: str(row.rounds),
        "MB to the other party": lambda row: f"{row.bytes_per_party / 1e6:.3f}",
        "MB from the dealer": lambda row: f"{row.dealer_bytes_per_party / 1e6:.3f}",
        "CPU s, servers": lambda row: f"{row.cpu_s:.3f}",
        "CPU s, client": lambda row: f"{row.client_cpu_s:.3f}",
        "agreement": lambda row: f"{row.agreement:.2%}",
    }
    _table(titles, [[name, *map(figure, rows)] for name, figure in figures.items()])


def _memory_table(row: "memory.Measured") -> None:
    later = {each.process: each for each in row.after_a_query}
    lines: list[tuple[Any, ...]] = [
        (
            each.process,
            *(f"{mb:.0f}" for mb in (each.rss_mb, each.uss_mb)),
            *(f"{mb:.0f}" for mb in (later[each.process].rss_mb, later[each.process].uss_mb)),
        )
        for each in row.at_rest
    ]
    for party, mb in row.party_at_rest_mb.items():
        lines.append(
            (f"{party} in all", f"{mb:.0f}", "", f"{row.party_after_a_query_mb[party]:.0f}", "")
        )
    titles = (row.preset, "RSS MB at rest", "USS", "RSS MB after a query", "USS")
    _table(titles, lines)


def _table(titles: Sequence[str], lines: Sequence[Sequence[object]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*titles, box=box.SIMPLE)
    for line in lines:
        table.add_row(*(str(cell) for cell in line))
    Console().print(table)


@contextmanager
def _progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error, on a terminal only."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("start", total=None)

        def show(doing: str, done: int, total: int) -> None:
            bar.update(task, description=doing, completed=done, total=total)

        yield show
