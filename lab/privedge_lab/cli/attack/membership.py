"""`privedge attack membership`: do answers tell whether an image was trained on?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption
from privedge.cli.progress import Bars
from privedge_lab.cli import experiment
from privedge_lab.cli.attack.options import (
    DataOption,
    OutOption,
    ResumeOption,
    SeedOption,
    numbers,
)
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.results.rows.membership import MembershipRow


def register(group: typer.Typer) -> None:
    """Add `attack membership`."""
    group.command("membership")(_membership)


def _membership(
    data: DataOption,
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="The RAN preset of the cohort.")
    ] = "subspace32",
    owners: Annotated[int, typer.Option("--owners", min=2, help="Models, one a class.")] = 10,
    members: Annotated[int, typer.Option("--members", min=10, help="Trained on, a model.")] = 100,
    asked: Annotated[
        int, typer.Option("--asked", min=2, help="Members, and others, attacked of each owner.")
    ] = 50,
    margin: Annotated[float, typer.Option("--margin", help="The cohort's margin.")] = 1.0,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Of training, if not the preset's.")
    ] = None,
    dp_epsilon: Annotated[
        str | None,
        typer.Option(
            "--dp-epsilon",
            metavar="NUMBERS",
            help="Train with this differential privacy, delta 1e-5: several, with commas between.",
        ),
    ] = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Label-only membership inference against the answers that a client of the service gets.

    Answers come from the plaintext fixed-point model, whose labels are those of the private one.

    \b
    Example:
      privedge attack membership --data mnist_28.npz --preset subspace32 --members 100
      privedge attack membership --data mnist_28.npz --dp-epsilon 1,4,16
    """
    from privedge_lab import datasets
    from privedge_lab.evaluation import membership
    from privedge_lab.results.rows.membership import MembershipRow
    from privedge_lab.results.store import Results

    wanted = [None] if dp_epsilon is None else numbers(dp_epsilon, "--dp-epsilon")
    chosen = [
        membership.MembershipSettings(preset, owners, members, asked, margin, steps, seed, epsilon)
        for epsilon in wanted
    ]

    def measure(results: Results, bars: Bars) -> Iterator[MembershipRow]:
        for each in chosen:
            yield from membership.measure(each, datasets.read(data), results, bars)

    found = experiment.run(
        membership.EXPERIMENT,
        {"data": data.name},
        measure,
        out=out,
        resume=resume,
    )
    experiment.show_lines(found.results, MembershipRow, as_json, _line)


def _line(row: "MembershipRow") -> str:
    private = "" if row.dp_epsilon is None else f", epsilon {row.dp_epsilon:g}"
    return (
        f"{row.preset} {row.attack}{private}: AUC {shown(row.auc, '.3f')} +- "
        f"{shown(row.auc_plus_minus, '.3f')}, advantage {shown(row.advantage, '+.3f')} +- "
        f"{shown(row.advantage_plus_minus, '.3f')} ({row.images} images; right: "
        f"{shown(row.right_members, '.1%')} of members, {shown(row.right_others, '.1%')} of "
        "others)"
    )
