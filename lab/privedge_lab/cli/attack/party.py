"""`privedge attack party`: what one MPC party learns of a private query."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from privedge.cli.options import EncoderOption, JsonOption, SpecOption
from privedge.cli.progress import Bars
from privedge_lab.cli import experiment
from privedge_lab.cli.attack.options import DataOption, OutOption, ResumeOption, SeedOption
from privedge_lab.cli.evaluate.options import network
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.results.rows.party import PartyRow

_PRESETS = "subspace32,conv32"


def register(group: typer.Typer) -> None:
    """Add `attack party`."""
    group.command("party")(_party)


def _party(
    data: DataOption,
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAMES", help="RAN presets, separated by commas.")
    ] = _PRESETS,
    owners: Annotated[int, typer.Option("--owners", min=2, help="Models in the cohort.")] = 2,
    known: Annotated[
        int, typer.Option("--known", min=100, help="Queries of its own to learn from.")
    ] = 1000,
    queries: Annotated[int, typer.Option("--queries", min=20, help="Queries to attack.")] = 300,
    randomness: Annotated[
        Literal["dealer", "two-party"],
        typer.Option(
            "--randomness",
            help="Who makes it: a dealer, or the two parties, whose messages are recorded too.",
        ),
    ] = "dealer",
    encoder: EncoderOption = None,
    spec_file: SpecOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Inversion and attribute attacks on what ONE party sees; no better than guessing is right.

    Runs both parties in this process and records them, so the images should be public ones. The
    rows of party "both" are what the same attacks reach with both parties' views.

    \b
    Examples:
      privedge attack party --data mnist_28.npz --preset subspace32,ran32
      privedge attack party --data mnist_28.npz --preset subspace32 --randomness two-party
    """
    from privedge_lab import datasets, encoded
    from privedge_lab.evaluation import party_view
    from privedge_lab.results.rows.party import PartyRow
    from privedge_lab.results.store import Results

    fields = network(preset, encoder, spec_file, usual=_PRESETS)
    spec, files = fields["spec"], fields["files"]
    names = [spec.name] if spec else [name.strip() for name in preset.split(",")]
    settings = {"data": data.name, "owners": owners, "known": known, "queries": queries}
    if randomness != "dealer":  # left out otherwise: as in files before it
        settings["randomness"] = randomness
    settings |= encoded.settings(spec, files)

    def measure(results: Results, bars: Bars) -> Iterator[PartyRow]:
        parts = datasets.split(datasets.read(data), seed=seed)
        for name in names:
            chosen = party_view.PartySettings(
                *(name, owners, known, queries, seed),
                spec=spec,
                files=files,
                randomness=randomness,
            )
            yield from party_view.measure(chosen, parts.train, parts.test, results, bars)

    found = experiment.run(party_view.EXPERIMENT, settings, measure, out=out, resume=resume)
    experiment.show_rows(found.results, PartyRow, as_json, _table)


def _table(rows: "list[PartyRow]") -> None:
    """Of each attack on each party, the row that did best; `--json` has them all."""
    titles = ("preset", "party", "attack", "best reading", "score", "guessing", "sigmas")
    best: dict[tuple[str, str, str], PartyRow] = {}
    for row in rows:
        key = (row.preset or "", row.party or "", row.attack or "")
        if key not in best or (row.sigmas or 0.0) > (best[key].sigmas or 0.0):
            best[key] = row
    lines = []
    for (name, party, attack), row in sorted(best.items(), key=lambda each: each[0]):
        score = f"{shown(row.psnr_db, '.2f')} dB"
        guess = f"{shown(row.mean_image_psnr_db, '.2f')} dB"
        if attack == "attribute":
            score, guess = shown(row.accuracy, ".1%"), shown(row.majority, ".1%")
        reading, sigmas = f"{row.reading}, {row.encoding}", shown(row.sigmas, ".1f")
        lines.append((name, party, attack, reading, score, guess, sigmas))
    experiment.table(titles, lines)
