"""`privedge attack`: what an adversary gets out of the plaintext baseline.

See docs/results/attacks.md.

One module of this folder per family of attacks. Each has `register(group)`.
"""

import typer

from privedge_lab.cli.attack import (
    attributes,
    coalition,
    disguising,
    extraction,
    inversion,
    membership,
    partitioning,
    party,
    poisoning,
    table,
    tampering,
)

_MODULES = (
    table,
    inversion,
    partitioning,
    attributes,
    disguising,
    party,
    membership,
    coalition,
    poisoning,
    extraction,
    tampering,
)


def register(app: typer.Typer) -> None:
    """Add the group `attack`."""
    group = typer.Typer(
        name="attack",
        help="What adversaries get of the private service and of the plaintext baseline, measured.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    for module in _MODULES:
        module.register(group)
    app.add_typer(group)
