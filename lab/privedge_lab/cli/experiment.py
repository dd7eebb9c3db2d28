"""Run an experiment from the command line: store rows as they come, print them at the end.

A command builds its request, and says how to measure and word its rows. The rest is here.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from privedge.cli.ending import nothing_left_running
from privedge.cli.options import command_line
from privedge.cli.progress import Bars, progress_bar

if TYPE_CHECKING:
    from privedge_lab.results.rows.row import Row
    from privedge_lab.results.rows.values import Raw
    from privedge_lab.results.store import Results

T = TypeVar("T")
R = TypeVar("R", bound="Row")


@dataclass(frozen=True)
class Measured(Generic[T]):
    """`results` holds the stored rows, in `file` if there is one. `found` is what the measurement
    yielded, in order.
    """

    results: "Results"
    found: list[T]
    file: Path | None

    def evidence(self) -> "Raw":
        """Return what a summary says about the origin of its rows."""
        return {
            "file": None if self.file is None else str(self.file),
            "command": command_line(),
            "settings": self.results.settings,
        }


def run(
    experiment: str,
    settings: "Raw",
    measure: Callable[["Results", Bars], Iterable[T]],
    *,
    out: Path | None,
    resume: bool,
) -> Measured[T]:
    """Measure what `out` does not hold yet, with a bar, and leave no process running.

    `measure` adds its rows to the results that it is given. Raises ConfigError for a file of
    another experiment or other settings, or one that is there already unless `resume`.
    """
    from privedge.errors import ConfigError
    from privedge_lab.results.store import Results

    if resume and out is None:
        raise ConfigError("--resume goes on with stored rows; give --out")
    results = Results(experiment, settings, out, resume=resume, command=command_line())
    return Measured(results, once(lambda bars: measure(results, bars)), out)


def once(measure: Callable[[Bars], Iterable[T]]) -> list[T]:
    """Return what `measure` yields. Shows a bar, and leaves no process running."""
    with nothing_left_running(), progress_bar() as bars:
        return list(measure(bars))


def show_rows(
    results: "Results", kind: type[R], as_json: bool, text: Callable[[list[R]], None]
) -> None:
    """Print the stored document, or all its rows as `text` prints them."""
    if as_json:
        print(json.dumps(results.document()))
    else:
        text(results.read(kind))


def show_lines(results: "Results", kind: type[R], as_json: bool, line: Callable[[R], str]) -> None:
    """Print the stored document, or a line for each of its rows."""

    def text(rows: list[R]) -> None:
        for row in rows:
            print(line(row))

    show_rows(results, kind, as_json, text)


def show_summary(summary: "Raw", as_json: bool, text: Callable[["Raw"], None]) -> None:
    """Print a summary of rows as JSON, or as `text` prints it."""
    if as_json:
        print(json.dumps(summary))
    else:
        text(summary)


def file_in(folder: Path, name: str) -> Path:
    """Make `folder` and return the path of `name` in it. Raises ConfigError if that fails."""
    from privedge.errors import ConfigError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be created ({error.strerror})") from None
    return folder / name


def table(
    titles: Sequence[str],
    lines: Iterable[Sequence[object]],
    *,
    least_width: int = 0,
    figures: bool = False,
) -> None:
    """Print `lines` below `titles`; None is an empty cell.

    With `least_width`, cells stay on one line and a narrower terminal wraps whole lines, because a
    figure cut off by dots says nothing. With `figures`, cells are aligned to the right.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    columns = [
        Column(title, no_wrap=least_width > 0, justify="right" if figures else "left")
        for title in titles
    ]
    made = Table(*columns, box=box.SIMPLE)
    for line in lines:
        made.add_row(*("" if cell is None else str(cell) for cell in line))
    console = Console()
    console.width = max(console.width, least_width)
    console.print(made, crop=not least_width)
