"""`privedge evaluate`: the experiments, on any labelled image set. See docs/results/evaluation.md.

One module of this folder per experiment. Each has `register(group)`.
"""

import typer

from privedge_lab.cli.evaluate import bias, fairness, identify, original, robustness, scale

_MODULES = (identify, robustness, bias, scale, fairness, original)


def register(app: typer.Typer) -> None:
    """Add the group `evaluate`."""
    group = typer.Typer(
        name="evaluate",
        help="How well private prediction tells owners apart, measured on labelled images.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    # With one command alone, typer would make it the group itself.
    group.callback()(lambda: None)
    for module in _MODULES:
        module.register(group)
    app.add_typer(group)
