"""The little Markdown that the generated pages need."""

import re
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 120


def generated(title: str, source: str) -> str:
    """The head of a page: its title, and who writes it."""
    return f"<!-- Written by tools/reference.py from {source}; do not edit. -->\n\n# {title}"


def paragraph(text: str, *, first: str = "", rest: str = "") -> str:
    """`text` on lines of 120 columns, with code spans and links kept whole."""
    kept = re.sub(r"`[^`]*`|\[[^\]]*\]\([^)]*\)", lambda span: span[0].replace(" ", "\0"), text)
    lines = textwrap.wrap(
        " ".join(kept.split(" ")),
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace("\0", " ")


def item(text: str) -> str:
    """One entry of a list."""
    return paragraph(" ".join(text.split()), first="- ", rest="  ")


def code(text: str, language: str = "text") -> str:
    """A block of code."""
    return f"```{language}\n{text.strip(chr(10))}\n```"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are one line each, and a bar in one is escaped."""
    lines = [titles, ["---"] * len(titles), *rows]
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def page(*blocks: str) -> str:
    """Blocks with an empty line between them, and one line break at the end."""
    return "\n\n".join(block for block in blocks if block) + "\n"
