"""Templates of self-contained pages. Every text goes through escaping; a missing name is an error.

Sees what its callers put on a page, and keeps nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(package: str) -> "Environment":
    """Templates of `package`, which may `include "house.css"` from here."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader(
            [PackageLoader(package, "."), PackageLoader("privedge_lab.pages", ".")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
