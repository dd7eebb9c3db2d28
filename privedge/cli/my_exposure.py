"""`privedge my-exposure`: how much a cohort was asked, for one of its owners."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from privedge.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption


def register(app: typer.Typer) -> None:
    """Add `my-exposure`."""
    app.command("my-exposure")(_my_exposure)


def _my_exposure(
    cohort: Annotated[str, typer.Argument(metavar="COHORT", help="One that you have a model in.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show how much your cohort was asked in 30 days, as both parties count it.

    Every query asks every model of its cohort. The parties tell no clients' names, and know no
    answers.

    \b
    Example:
      privedge my-exposure faces --config owner-ana.toml
    """
    from privedge.config import ClientConfig, load
    from privedge.user import models

    both = models.exposure(load(ClientConfig, config), cohort)
    if as_json:
        print(json.dumps({f"party{index}": asdict(each) for index, each in enumerate(both)}))
    else:
        print(f"{'':20}  {'party 0':>9}  {'party 1':>9}")
        for name in ("identities", "largest_share", "named", "activated", "refused"):
            _line(name.replace("_", " "), [getattr(each, name) for each in both])
        for day in sorted({*both[0].days, *both[1].days}):
            _line(f"rows on {day}", [each.days.get(day, 0) for each in both])
    if both[0] != both[1]:
        print("the parties differ; tell both operators if it stays so", file=sys.stderr)


def _line(name: str, values: list[float]) -> None:
    shown = (f"{each:9.0%}" if name == "largest share" else f"{each:9,}" for each in values)
    print(f"{name:20}  {'  '.join(shown)}")
