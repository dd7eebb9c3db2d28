"""What the commands of `privedge bench` share: comma lists, and rows as JSON or as tables."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from privedge_lab.results.rows.row import Row

R = TypeVar("R", bound="Row")


def names(listed: str) -> list[str]:
    """Split names separated by commas, in order."""
    found = [name.strip() for name in listed.split(",") if name.strip()]
    if not found:
        raise typer.BadParameter("needs at least one, separated by commas")
    return found


def counts(listed: str) -> list[int]:
    """Parse whole numbers from 1, separated by commas."""
    found = [int(name) if name.isdecimal() else 0 for name in names(listed)]
    if min(found) < 1:
        raise typer.BadParameter("needs whole numbers from 1, separated by commas")
    return found


def show(name: str, found: list[R], as_json: bool, text: Callable[[list[R]], None]) -> None:
    """Print this machine's processor, and rows as JSON under their experiment's key or as `text`
    prints them.
    """
    from privedge_lab.bench.processor import processor
    from privedge_lab.results.registry import EXPERIMENTS

    if as_json:
        rows = [row.to_json() for row in found]
        print(json.dumps({"processor": processor(), EXPERIMENTS[name].printed: rows}))
    else:
        print(f"processor: {processor()}")
        text(found)
