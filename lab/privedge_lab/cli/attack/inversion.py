"""`privedge attack inversion`: the table of He et al. 2019, cell by cell."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption
from privedge_lab.cli import experiment
from privedge_lab.cli.attack.options import DataOption, OutOption, ResumeOption, SeedOption
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.results.rows.inversion_settings import InversionSettingRow


def register(group: typer.Typer) -> None:
    """Add `attack inversion`."""
    group.command("inversion")(_inversion)


def _inversion(
    data: DataOption,
    network: Annotated[
        str, typer.Option("--network", metavar="NAME", help="lenet (28 x 28 grey) or cifar.")
    ] = "lenet",
    cuts: Annotated[
        str | None,
        typer.Option("--cuts", metavar="A,B", help="Layers to cut after; default: the paper's."),
    ] = None,
    settings: Annotated[
        str | None,
        typer.Option("--settings", metavar="A,B", help="Default: all nine, listed below."),
    ] = None,
    images: Annotated[int, typer.Option("--images", min=1, help="Test images to attack.")] = 100,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Of the network.")] = 20,
    shadow_epochs: Annotated[
        int, typer.Option("--shadow-epochs", min=1, help="Of shadows of its head.")
    ] = 10,
    seed: SeedOption = 0,
    effort: Annotated[float, typer.Option("--effort", min=0.001, max=10, hidden=True)] = 1.0,
    out: OutOption = None,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Reconstruct images in the nine settings of He et al. 2019, beside the paper's figures.

    Settings: white-box; black-box-same-set, black-box-other-set, black-box-noise;
    query-free-same-set-same-net, query-free-other-set-same-net, query-free-same-set-other-net,
    query-free-other-set-other-net; shadow-queried. The network learns from half of the training
    part; the other set is the other half. With --out FILE.json it is kept in FILE.network, so that
    --resume goes on with the cells that are missing.

    \b
    Examples:
      privedge attack inversion --data mnist_28.npz
      privedge attack inversion --data cifar10_32.npz --network cifar --cuts conv11 \\
        --settings white-box,black-box-noise
    """
    from privedge_lab import datasets
    from privedge_lab.evaluation.inversion import EXPERIMENT, check, measure
    from privedge_lab.evaluation.inversion_plan import CUTS, SETTINGS, Plan
    from privedge_lab.results.rows.inversion_settings import InversionSettingRow

    plan = Plan(
        network=network,
        cuts=_names(cuts) or CUTS.get(network, ()),
        settings=_names(settings) or tuple(SETTINGS),
        images=images,
        seed=seed,
        epochs=epochs,
        shadow_epochs=shadow_epochs,
        effort=effort,
    )
    check(plan)
    found = experiment.run(
        EXPERIMENT,
        plan.common() | {"data": data.name},
        lambda results, bars: measure(
            plan, datasets.read(data), results, kept=_network_beside(out), progress=bars
        ),
        out=out,
        resume=resume,
    )
    experiment.show_rows(found.results, InversionSettingRow, as_json, _print)


def _network_beside(out: Path | None) -> Path | None:
    return None if out is None else out.with_name(f"{out.stem}.network")


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _print(rows: "list[InversionSettingRow]") -> None:
    lines = [
        (
            *(row.network, row.cut, row.setting),
            f"{shown(row.psnr_db, '.2f')} +- {shown(row.psnr_db_plus_minus, '.2f')}",
            shown(row.ssim, ".3f"),
            f"{shown(row.paper_psnr_db, '.2f')} / {shown(row.paper_ssim, '.3f')}",
            shown(row.cpu_s, ".0f"),
        )
        for row in rows
    ]
    titles = ("network", "cut", "setting", "PSNR dB", "SSIM", "the paper", "CPU s")
    experiment.table(titles, lines, least_width=110)
