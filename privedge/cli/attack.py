"""`privedge attack`: what an adversary gets out of the plaintext baseline. See docs/attacks.md.

One module of this folder per family of attacks. Each has `register(group)`.
"""

import importlib
import importlib.util

import typer

_MODULES = (
    "attack_table",
    "attack_partitioning",
    "attack_attributes",
    "attack_disguising",
    "attack_party",
    "attack_membership",
)


def register(app: typer.Typer) -> None:
    """Add the group `attack`."""
    group = typer.Typer(
        name="attack",
        help="What an adversary gets out of the plaintext baseline, measured.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    for name in _MODULES:
        module = f"privedge.cli.{name}"
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module).register(group)
    app.add_typer(group)
