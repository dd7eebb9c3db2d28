"""`privedge split signals`: dropping activation outputs on signals of sensors."""

from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption
from privedge_lab.cli import experiment
from privedge_lab.cli.options import ResumeRowsOption, RowsOption
from privedge_lab.cli.split.train import RepeatChoice, RepeatOption
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.results.rows.signals import SignalsRow


def register(group: typer.Typer) -> None:
    """Add `split signals`."""
    group.command("signals")(_signals)


def _signals(
    tasks: Annotated[
        str, typer.Option("--tasks", metavar="A,B", help="Of ecg, pendulum, diabetes.")
    ] = "ecg,pendulum,diabetes",
    networks: Annotated[
        str, typer.Option("--networks", metavar="A,B", help="Of dense, convolution.")
    ] = "dense",
    strengths: Annotated[
        str, typer.Option("--strengths", metavar="X,Y", help="Shares to drop; 0 drops nothing.")
    ] = "0,0.5,0.8,0.9",
    repeat: RepeatOption = RepeatChoice.PER_INPUT,
    signals: Annotated[int, typer.Option("--signals", min=1, help="Test signals to attack.")] = 200,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Sets and trainings.")] = 1,
    first_seed: Annotated[
        int, typer.Option("--first-seed", min=0, help="The seeds are those from here on.")
    ] = 0,
    effort: Annotated[float, typer.Option("--effort", min=0.001, max=10, hidden=True)] = 1.0,
    out: RowsOption = None,
    resume: ResumeRowsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Drop a device's activation outputs (Dong et al. 2017) on signals, and attack what is left.

    ecg is a classification, pendulum and diabetes are regressions. Needs no data: the first two are
    made from physics, the third comes with scikit-learn. The head is one layer, as in the paper, so
    attackers can solve its equations.

    \b
    Examples:
      privedge split signals
      privedge split signals --tasks ecg --networks dense,convolution --repeat fixed --out ecg.json
    """
    from privedge_lab.evaluation.signals import EXPERIMENT, Plan, measure
    from privedge_lab.results.rows.signals import SignalsRow

    plan = Plan(
        tasks=_names(tasks),
        networks=_names(networks),
        strengths=_numbers(strengths),
        seeds=tuple(range(first_seed, first_seed + seeds)),
        repeat=repeat.value,
        signals=signals,
        effort=effort,
    )
    found = experiment.run(
        EXPERIMENT,
        plan.settings(),
        lambda results, bars: measure(plan, results, progress=bars),
        out=out,
        resume=resume,
    )
    experiment.show_rows(found.results, SignalsRow, as_json, _print)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(text: str) -> tuple[float, ...]:
    from privedge.errors import ConfigError

    try:
        return tuple(float(number) for number in _names(text))
    except ValueError:
        raise ConfigError(f"--strengths {text}: write numbers, as in 0,0.5,0.9") from None


def _print(rows: "list[SignalsRow]") -> None:
    lines = [
        (
            *(row.task, row.network, row.seed, shown(row.strength, "g")),
            f"{shown(row.kept, '.0f')} of {shown(row.inputs, '.0f')}",
            "holds" if row.holds else "fails",
            shown(row.quality, ".3f"),
            row.attack,
            shown(row.psnr_db, ".1f"),
            shown(row.correlation, ".3f"),
            shown(row.device_us, ".0f"),
            shown(row.sent_bytes, ".0f"),
        )
        for row in rows
    ]
    titles = ("task", "network", "seed", "dropped", "kept for values", "condition", "quality")
    attacked = ("attack", "PSNR dB", "correlation", "device us", "bytes")
    experiment.table((*titles, *attacked), lines, least_width=150)
