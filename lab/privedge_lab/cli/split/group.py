"""`privedge split`: the plaintext baseline. One module of this folder per command of the group.

Each has `register(group)` and registers one command or more, in this order.
"""

import typer

from privedge_lab.cli.split import disguise, query, signals, sweep, train

_MODULES = (train, query, disguise, sweep, signals)


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
    for module in _MODULES:
        module.register(group)
    app.add_typer(group)
