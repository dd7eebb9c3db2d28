"""`privedge attack membership`: do answers tell whether an image was trained on?"""

from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import EncoderOption, JsonOption, SpecOption
from privedge_lab.cli import experiment
from privedge_lab.cli.attack.options import DataOption, OutOption, ResumeOption, SeedOption
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
    encoder: EncoderOption = None,
    spec_file: SpecOption = None,
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
    """
    from privedge_lab import datasets, encoded
    from privedge_lab.evaluation import membership
    from privedge_lab.results.rows.membership import MembershipRow

    spec, files = encoded.given(spec_file, encoder)
    chosen = membership.MembershipSettings(
        spec.name if spec else preset, owners, members, asked, margin, steps, seed, spec, files
    )
    found = experiment.run(
        membership.EXPERIMENT,
        {"data": data.name} | encoded.settings(spec, files),
        lambda results, bars: membership.measure(chosen, datasets.read(data), results, bars),
        out=out,
        resume=resume,
    )
    experiment.show_lines(found.results, MembershipRow, as_json, _line)


def _line(row: "MembershipRow") -> str:
    return (
        f"{row.preset} {row.attack}: AUC {shown(row.auc, '.3f')} +- "
        f"{shown(row.auc_plus_minus, '.3f')}, advantage {shown(row.advantage, '+.3f')} +- "
        f"{shown(row.advantage_plus_minus, '.3f')} ({row.images} images; right: "
        f"{shown(row.right_members, '.1%')} of members, {shown(row.right_others, '.1%')} of "
        "others)"
    )
