"""docs/adr/index.md: the list of decisions, from the heading of each record."""

from pathlib import Path

from pages import markdown as md


def page(folder: Path) -> str:
    """The whole page, for the records in `folder`."""
    records = sorted(folder.glob("[0-9][0-9][0-9][0-9]-*.md"))
    lines = [f"- [{_title(record)}]({record.name})" for record in records]
    return md.page(
        md.generated("Decisions", "the headings of the records"),
        md.paragraph(
            "One page for each decision that shaped the code: the context, the options, what was "
            "decided, and its cost."
        ),
        "\n".join(lines),
        md.paragraph(
            "To add one, copy the headings of an existing record, give it the next number, and run "
            "`make docs`. A decision that is taken back keeps its page, with a line at the top "
            "that names the one that replaces it."
        ),
    )


def _title(record: Path) -> str:
    return record.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
