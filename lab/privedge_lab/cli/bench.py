"""`privedge bench`: measure the system on this machine, with made-up models.

See docs/results/bench.md.
"""

import json
import math
from collections.abc import Callable, Sequence
from itertools import groupby, product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privedge.cli.options import EncoderOption, JsonOption, SpecOption
from privedge_lab.cli import experiment
from privedge_lab.cli.bench_faces import faces
from privedge_lab.cli.bench_peers import peers
from privedge_lab.cli.bench_rows import counts, names, show
from privedge_lab.cli.soak import soak
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.bench.system import Wanted
    from privedge_lab.results.rows.bench import (
        MemoryRow,
        ProductRow,
        QueryRow,
        ThroughputRow,
        TrainRow,
        UploadRow,
    )

# Columns that the longest shape of a product needs.
_WIDE = 150

PresetOption = Annotated[
    str, typer.Option("--preset", metavar="NAMES", help="Architectures, separated by commas.")
]
OwnersOption = Annotated[int, typer.Option("--owners", min=1, help="Models in the cohort.")]
CountsOption = Annotated[
    str, typer.Option("--owners", metavar="COUNTS", help="Models in the cohort; a comma list.")
]
PoolOption = Annotated[
    str,
    typer.Option(
        "--pool", metavar="warm|empty", help="Wait for full pools before a query, or have none."
    ),
]
RttOption = Annotated[
    float,
    typer.Option(
        "--rtt-ms", min=0, max=2000, help="Round trip between the servers, through a relay."
    ),
]


def register(app: typer.Typer) -> None:
    """Add `bench query` and the other commands of the group."""
    group = typer.Typer(
        name="bench",
        help="Measure the system on this machine, with made-up models.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("query")(_query)
    group.command("faces")(faces)
    group.command("throughput")(_throughput)
    group.command("upload")(_upload)
    group.command("memory")(_memory)
    group.command("soak")(soak)
    group.command("train")(_train)
    group.command("products")(_products)
    group.command("crypten")(_crypten)
    group.command("peers")(peers)
    app.add_typer(group)


def _query(
    preset: PresetOption = "subspace32,ran32",
    owners: CountsOption = "10",
    batch: Annotated[int, typer.Option("--batch", min=1, max=64, help="Images a query.")] = 1,
    queries: Annotated[int, typer.Option("--queries", min=1, help="Warm queries to time.")] = 20,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            metavar="NAMES",
            help="fused, crypten, or CrypTen as published: stock, stock-grouped, stock-cached; "
            "asked in turn.",
        ),
    ] = "fused",
    randomness: Annotated[
        str,
        typer.Option(
            "--randomness",
            metavar="NAMES",
            help="Who makes it for fused: dealer, two-party (experimental); asked in turn.",
        ),
    ] = "dealer",
    pool: PoolOption = "warm",
    rtt_ms: RttOption = 0.0,
    encoder: EncoderOption = None,
    spec_file: SpecOption = None,
    as_json: JsonOption = False,
) -> None:
    """Seconds, rounds, bytes and CPU seconds of a private query, and whether it is right.

    \b
    Example:
      privedge bench query --preset conv32 --owners 1,10 --engine fused,stock-grouped --json
    """
    from privedge.ran.public_files import PublicFiles
    from privedge_lab.bench import query
    from privedge_lab.bench.system import Setting

    setting, files = Setting(pool, rtt_ms), PublicFiles.at(encoder=encoder)
    loads = [
        query.Workload(
            *(tuple(names(engine)), name, count, batch, queries, setting, files),
            randomness=tuple(names(randomness)),
        )
        for name, count in product(_wanted(preset, spec_file), counts(owners))
    ]
    for load in loads:
        query.check(load)
    found = experiment.once(
        lambda bars: (row for load in loads for row in query.measure(load, bars))
    )
    show("bench query", found, as_json, _query_tables)


def _throughput(
    preset: PresetOption = "subspace32",
    owners: CountsOption = "10",
    clients: Annotated[int, typer.Option("--clients", min=1, max=256, help="In parallel.")] = 8,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="Time measured.")] = 10,
    engine: Annotated[
        str, typer.Option("--engine", metavar="NAMES", help="Engines, separated by commas.")
    ] = "fused",
    batching_delay_ms: Annotated[
        float | None,
        typer.Option(
            "--batching-delay-ms", min=0, help="How long a query waits for others; else as set."
        ),
    ] = None,
    encoder: EncoderOption = None,
    spec_file: SpecOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queries a second that many clients at once get answered, preprocessing included.

    \b
    Example:
      privedge bench throughput --preset conv32 --owners 40 --clients 8 --seconds 20
    """
    from privedge.ran.public_files import PublicFiles
    from privedge_lab.bench import throughput

    wanted, files = _wanted(preset, spec_file), PublicFiles.at(encoder=encoder)
    loads = [
        throughput.Workload(each, name, count, clients, seconds, batching_delay_ms, files)
        for name, count, each in product(wanted, counts(owners), names(engine))
    ]
    found = experiment.once(lambda bars: (throughput.measure(load, bars) for load in loads))
    show("bench throughput", found, as_json, _throughput_table)


def _upload(
    preset: PresetOption = "paper",
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Uploads to time.")] = 5,
    encoder: EncoderOption = None,
    spec_file: SpecOption = None,
    as_json: JsonOption = False,
) -> None:
    """MB/s of a share: to one party, to both at once, and seconds of a whole upload.

    \b
    Example:
      privedge bench upload --preset paper
    """
    from privedge.ran.public_files import PublicFiles
    from privedge_lab.bench import upload

    wanted, files = _wanted(preset, spec_file), PublicFiles.at(encoder=encoder)
    found = experiment.once(
        lambda bars: (upload.measure(name, repeats, bars, files) for name in wanted)
    )
    show("bench upload", found, as_json, _upload_table)


def _memory(
    preset: PresetOption = "subspace32",
    owners: OwnersOption = 10,
    encoder: EncoderOption = None,
    spec_file: SpecOption = None,
    as_json: JsonOption = False,
) -> None:
    """Resident memory of every process, at rest and after a first query.

    \b
    Example:
      privedge bench memory --preset ran32
    """
    from privedge.ran.public_files import PublicFiles
    from privedge_lab.bench import memory

    wanted, files = _wanted(preset, spec_file), PublicFiles.at(encoder=encoder)
    found = experiment.once(
        lambda bars: (memory.measure(name, owners, bars, files) for name in wanted)
    )
    show("bench memory", found, as_json, _memory_tables)


def _train(
    preset: PresetOption = "subspace32,ran32",
    owners: Annotated[int, typer.Option("--owners", min=1, help="Owners to train for.")] = 3,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Training steps, if not the preset's.")
    ] = None,
    encoder: EncoderOption = None,
    spec_file: SpecOption = None,
    as_json: JsonOption = False,
) -> None:
    """Seconds to train one owner's model.

    \b
    Example:
      privedge bench train --preset ran32
    """
    from privedge.ran.public_files import PublicFiles
    from privedge_lab.bench import training

    wanted, files = _wanted(preset, spec_file), PublicFiles.at(encoder=encoder)
    found = experiment.once(
        lambda bars: (training.measure(name, owners, steps, bars, files) for name in wanted)
    )
    show("bench train", found, as_json, _train_table)


def _products(
    preset: Annotated[
        str,
        typer.Option(
            "--preset", metavar="NAMES", help="Architectures, separated by commas; or all of them."
        ),
    ] = "all",
    owners: CountsOption = "1,10",
    as_json: JsonOption = False,
) -> None:
    """Speed of the products of 64-bit integers that a query needs, beside torch's own.

    \b
    Example:
      privedge bench products --preset conv32,paper --owners 10 --json
    """
    from privedge_lab.bench import products

    presets, many = names(preset), counts(owners)
    found = experiment.once(lambda bars: products.measure(presets, many, bars))
    show("bench products", found, as_json, _product_table)


def _crypten(
    times: Annotated[int, typer.Option("--times", min=1, help="Runs of each that count.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """CrypTen programs on two parties here, and on CrypTen as published with its own dealer.

    \b
    Example:
      privedge bench crypten --json
    """
    from privedge_lab.bench.programs import measure

    rows = list(measure.measure(times))
    if as_json:
        print(json.dumps({"programs": rows}))
        return
    titles = ("program", "s", "published, s", "times", "rounds", "bytes", "largest error")
    experiment.table(titles, [[str(value) for value in row.values()] for row in rows])


def _wanted(presets: str, spec_file: Path | None) -> "list[Wanted]":
    """Return the spec in a file, or else the names of presets."""
    from privedge.ran import spec_file as specs

    return [*names(presets)] if spec_file is None else [specs.read(spec_file)]


def _query_tables(found: list["QueryRow"]) -> None:
    for _, same in groupby(found, lambda row: (row.preset, row.owners)):
        _query_table(list(same))


def _query_table(found: Sequence["QueryRow"]) -> None:
    """Print one column per engine: there are more figures than columns on a terminal."""
    titles = [f"{found[0].preset}, per query", *map(_way, found)]
    figures: dict[str, Callable[[QueryRow], str]] = {
        "owners x images": lambda row: f"{row.owners} x {row.batch}",
        "first query, s": lambda row: shown(row.cold_s, ".3f"),
        "median, s": lambda row: shown(row.median_s, ".3f"),
        "p95, s": lambda row: shown(row.p95_s, ".3f"),
        "online, s": lambda row: shown(row.online_s, ".3f"),
        "online, times fused": lambda row: shown(row.ratio, ".2f"),
        "rounds": lambda row: str(row.rounds),
        "MB to the other party": lambda row: shown(row.bytes_per_party, ".3f", per=1e6),
        "MB of randomness, most at a party": lambda row: shown(
            row.dealer_bytes_per_party, ".3f", per=1e6
        ),
        "MB of randomness, both": lambda row: shown(row.bytes_offline, ".3f", per=1e6),
        "CPU s, randomness": lambda row: shown(row.offline_cpu_s, ".3f"),
        "CPU s, servers": lambda row: shown(row.cpu_s, ".3f"),
        "CPU s, client": lambda row: shown(row.client_cpu_s, ".3f"),
        "agreement": lambda row: shown(row.agreement, ".2%"),
        "agreeing / ties / differing": lambda row: f"{row.agreeing} / {row.ties} / {row.differing}",
    }
    experiment.table(titles, [[name, *map(figure, found)] for name, figure in figures.items()])


def _way(row: "QueryRow") -> str:
    alone = row.randomness == "two-party"
    return f"{row.engine}, {row.randomness}" if alone else row.engine or ""


def _throughput_table(found: list["ThroughputRow"]) -> None:
    experiment.table(
        ("preset", "engine", "owners", "clients", "per s", "median s", "p95 s", "CPU s", "right"),
        [
            (
                *(row.preset, row.engine, row.owners, row.clients),
                shown(row.queries_per_s, ".1f"),
                *(shown(value, ".3f") for value in (row.median_s, row.p95_s, row.cpu_s)),
                shown(row.agreement, ".2%"),
            )
            for row in found
        ],
    )


def _upload_table(found: list["UploadRow"]) -> None:
    experiment.table(
        ("preset", "share MB", "one party MB/s", "both MB/s", "whole upload s"),
        [
            (
                row.preset,
                shown(row.share_mb, ".1f"),
                shown(row.one_party_mb_s, ".0f"),
                shown(row.both_mb_s, ".0f"),
                shown(row.whole_s, ".2f"),
            )
            for row in found
        ],
    )


def _train_table(found: list["TrainRow"]) -> None:
    experiment.table(
        ("preset", "images", "steps", "seconds an owner"),
        [(row.preset, row.images, row.steps, shown(row.seconds, ".2f")) for row in found],
    )


def _product_table(found: list["ProductRow"]) -> None:
    experiment.table(
        ("kind", "shape", "torch GMAC/s", "ours GMAC/s", "ours / torch"),
        [
            (
                *(row.kind, row.shape),
                *(shown(value, ".2f") for value in (row.torch_int64_gmacs, row.ours_gmacs)),
                shown(row.ours_gmacs, ".2f", per=row.torch_int64_gmacs or math.inf),
            )
            for row in found
        ],
        least_width=_WIDE,
    )


def _memory_tables(found: list["MemoryRow"]) -> None:
    for row in found:
        _memory_table(row)


def _memory_table(row: "MemoryRow") -> None:
    later = {each.process: each for each in row.after_a_query}
    lines: list[tuple[Any, ...]] = [
        (
            each.process,
            *(shown(mb, ".0f") for mb in (each.rss_mb, each.uss_mb)),
            *(shown(mb, ".0f") for mb in (later[each.process].rss_mb, later[each.process].uss_mb)),
        )
        for each in row.at_rest
    ]
    for party, mb in row.party_at_rest_mb.items():
        after = row.party_after_a_query_mb[party]
        lines.append((f"{party} in all", shown(mb, ".0f"), "", shown(after, ".0f"), ""))
    titles = (row.preset or "", "RSS MB at rest", "USS", "RSS MB after a query", "USS")
    experiment.table(titles, lines)
