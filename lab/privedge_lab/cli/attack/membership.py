"""`privedge attack membership`: do answers tell whether an image was trained on?"""

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import EncoderOption, JsonOption, SpecOption
from privedge.cli.progress import Bars
from privedge_lab.cli import experiment
from privedge_lab.cli.attack.options import (
    DataOption,
    OutOption,
    ResumeOption,
    SeedOption,
    numbers,
)
from privedge_lab.cli.evaluate.options import network
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.results.rows.membership import MembershipRow

_PRESET = "subspace32"
_LEAST_MEMBERS = 10
# Members, and others, attacked of each owner, if there are so many.
_ASKED = 50


def register(group: typer.Typer) -> None:
    """Add `attack membership`."""
    group.command("membership")(_membership)


def _membership(
    data: DataOption,
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAMES", help="RAN presets, with commas between.")
    ] = _PRESET,
    owners: Annotated[int, typer.Option("--owners", min=2, help="Models, one a class.")] = 10,
    members: Annotated[
        str,
        typer.Option(
            "--members", metavar="NUMBERS", help="Trained on, a model: 10 or more, or several."
        ),
    ] = "100",
    asked: Annotated[
        int | None,
        typer.Option(
            "--asked",
            min=2,
            help="Members, and others, attacked of each owner; default 50, or all members.",
        ),
    ] = None,
    margin: Annotated[
        str, typer.Option("--margin", metavar="NUMBERS", help="The cohort's, or several.")
    ] = "1",
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
    encoder: EncoderOption = None,
    spec_file: SpecOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Label-only membership inference against the answers that a client of the service gets.

    Of several presets, numbers of members, margins and epsilons, every combination is measured.
    Answers come from the plaintext fixed-point model, whose labels are those of the private one.

    \b
    Example:
      privedge attack membership --data mnist_28.npz --preset subspace32 --members 100
      privedge attack membership --data mnist_28.npz --members 20,100 --margin .9,1
      privedge attack membership --data mnist_28.npz --dp-epsilon 1,4,16
    """
    from privedge_lab import datasets, encoded
    from privedge_lab.evaluation import membership
    from privedge_lab.results.rows.membership import MembershipRow
    from privedge_lab.results.store import Results

    fields = network(preset, encoder, spec_file, usual=_PRESET)
    spec, files = fields["spec"], fields["files"]
    presets = [spec.name] if spec else [name.strip() for name in preset.split(",")]
    wanted = [None] if dp_epsilon is None else numbers(dp_epsilon, "--dp-epsilon")
    sizes, margins = _sizes(members), numbers(margin, "--margin")
    chosen = [
        membership.MembershipSettings(
            *(name, owners, size, asked or min(_ASKED, size), each),
            *(steps, seed, epsilon, spec, files),
        )
        for name, size, each, epsilon in product(presets, sizes, margins, wanted)
    ]

    def measure(results: Results, bars: Bars) -> Iterator[MembershipRow]:
        for each in chosen:
            yield from membership.measure(each, datasets.read(data), results, bars)

    found = experiment.run(
        membership.EXPERIMENT,
        {"data": data.name} | encoded.settings(spec, files),
        measure,
        out=out,
        resume=resume,
    )
    experiment.show_lines(found.results, MembershipRow, as_json, _line)


def _sizes(text: str) -> list[int]:
    found = numbers(text, "--members")
    if found[0] < _LEAST_MEMBERS or not all(size.is_integer() for size in found):
        raise typer.BadParameter(
            f"needs whole numbers of {_LEAST_MEMBERS} or more, with commas between",
            param_hint="--members",
        )
    return [int(size) for size in found]


def _line(row: "MembershipRow") -> str:
    private = "" if row.dp_epsilon is None else f", epsilon {row.dp_epsilon:g}"
    return (
        f"{row.preset} {row.attack}, {shown(row.members, '.0f')} images an owner, margin "
        f"{shown(row.margin, 'g')}{private}: AUC {shown(row.auc, '.3f')} +- "
        f"{shown(row.auc_plus_minus, '.3f')}, advantage {shown(row.advantage, '+.3f')} +- "
        f"{shown(row.advantage_plus_minus, '.3f')} ({row.images} images; right: "
        f"{shown(row.right_members, '.1%')} of members, {shown(row.right_others, '.1%')} of "
        "others)"
    )
