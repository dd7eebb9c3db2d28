"""`privedge split`: the plaintext baseline. One module of this folder per command of the group.

Each has `register(group)` and registers one command or more, in this order.
"""

import importlib
import importlib.util

import typer

_MODULES = ("split_train", "split_query", "split_disguise", "split_sweep")


def register(app: typer.Typer) -> None:
    """Add the group `split`."""
    group = typer.Typer(
        name="split",
        help=(
            "Plaintext split inference, for comparison: the server SEES the activations, and what "
            "they give away can be attacked."
        ),
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    for name in _MODULES:
        module = f"privedge.cli.{name}"
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module).register(group)
    app.add_typer(group)
