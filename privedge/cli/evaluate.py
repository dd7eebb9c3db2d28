"""`privedge evaluate`: the experiments, on any labelled image set. See docs/evaluation.md.

One module of this folder per experiment. Each has `register(group)`.
"""

import importlib
import importlib.util

import typer

_MODULES = (
    "evaluate_identify",
    "evaluate_robustness",
    "evaluate_bias",
    "evaluate_scale",
    "evaluate_fairness",
    "evaluate_original",
)


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
    for name in _MODULES:
        module = f"privedge.cli.{name}"
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module).register(group)
    app.add_typer(group)
