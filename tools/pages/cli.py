"""docs/reference/cli.md: what `--help` says of every command, in the order of a model's life."""

from collections.abc import Iterator

import click
import typer
from typer.testing import CliRunner

from pages import markdown as md
from privedge.cli.main import COMMANDS, LABORATORY, build

_WIDTH = "80"


def page() -> str:
    """The whole page. Needs the laboratory, whose commands are on it too."""
    app = build()
    group = typer.main.get_command(app)
    below = getattr(group, "commands", {})
    missing = set(LABORATORY) - set(below)
    if missing:
        raise SystemExit(f"{', '.join(sorted(missing))}: not installed; run make docs")
    parts = [_part(app, (name, *words)) for name in COMMANDS for words in _words(below[name])]
    return md.page(
        md.generated("Commands", "the command line"),
        md.paragraph(
            "Each section is what `--help` prints. Every command that prints a result has `--json` "
            "for machines: one object on standard output, and nothing else there. A mistake ends "
            "in one line on standard error, with exit status 1; a usage error with 2; Ctrl-C with "
            "130."
        ),
        md.paragraph(
            f"{_listed(name for name in COMMANDS if name not in LABORATORY)} are the product's. "
            f"{_listed(LABORATORY)} are the laboratory's (`pip install privedge-lab`)."
        ),
        *parts,
        _servers(),
    )


def _listed(names: Iterator[str] | tuple[str, ...]) -> str:
    *most, last = (f"`{name}`" for name in names)
    return f"{', '.join(most)} and {last}"


def _words(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of a command and of all below it."""
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from _words(below, (*path, name))


def _part(app: typer.Typer, words: tuple[str, ...]) -> str:
    shown = CliRunner().invoke(
        app,
        [*words, "--help"],
        prog_name="privedge",
        env={"COLUMNS": _WIDTH, "TERMINAL_WIDTH": _WIDTH},
    )
    level = "##" if len(words) == 1 else "###"
    return md.page(f"{level} privedge {' '.join(words)}", md.code(shown.output)).rstrip("\n")


def _servers() -> str:
    return md.page(
        "## python -m parties",
        md.paragraph(
            "The servers are started by `python -m parties party|dealer|split --config FILE`. "
            "[Configuration](config.md) has the keys of each file. `--insecure-loopback` serves "
            "without TLS on this machine only, if the file says so too. `split` is the "
            "laboratory's. A server that its operator must mend before it can start ends with "
            "status 78. `backup`, `restore`, `verify` and `adopt` look after a party's state "
            "([back up](../how-to/back-up.md), [restore](../how-to/restore.md)). `health` asks a "
            "server whether it serves: `--within SECONDS` waits for it, `--alive` asks only "
            "whether the process lives."
        ),
    ).rstrip("\n")
