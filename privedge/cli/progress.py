"""Every progress bar of the commands: on standard error, and on a terminal only."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from privedge.progress import Progress

if TYPE_CHECKING:
    from rich import progress as rich_progress


class Bars:
    """An overall bar, and a bar for each owner that is being trained."""

    def __init__(self, bars: "rich_progress.Progress") -> None:
        self._bars = bars
        self._whole = bars.add_task("start", total=None)
        self._owners: dict[str, rich_progress.TaskID] = {}

    def __call__(self, doing: str, done: int, total: int) -> None:
        """Update the overall bar: what is being done, steps done, steps in all."""
        self._bars.update(self._whole, description=doing, completed=done, total=total)

    def owner(self, name: str, step: int, steps: int, error: float) -> None:
        """Update the bar of one owner's training; the last step removes it."""
        if name not in self._owners:
            self._owners[name] = self._bars.add_task("", total=steps)
        said = f"  {name}, error {error:.4g}"
        self._bars.update(self._owners[name], description=said, completed=step, total=steps)
        if step >= steps:
            self._bars.remove_task(self._owners.pop(name))


@contextmanager
def progress_bar() -> Iterator[Bars]:
    """Show one bar with the current step; it disappears at the end."""
    with _shown(transient=True) as bars:
        yield Bars(bars)


@contextmanager
def training_bar(steps: int, figure: str) -> Iterator[Callable[[int, float], None]]:
    """Show a bar for one training. Call it with a step and its figure, such as the loss."""
    from rich import progress

    columns = (
        "train",
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn(f"{figure} {{task.fields[value]:.4g}}"),
        progress.TimeRemainingColumn(),
    )
    with _shown(*columns, disable=not steps) as bars:
        task = bars.add_task("train", total=steps, value=float("nan"))
        yield lambda step, value: bars.update(task, completed=step, value=value)


@contextmanager
def bytes_bar() -> Iterator[Progress]:
    """Show a bar for bytes that are sent."""
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
    )
    with _shown(*columns) as bars:
        task = bars.add_task("upload", total=None)
        yield lambda doing, sent, total: bars.update(
            task, description=doing, completed=sent, total=total
        )


@contextmanager
def phase_bars(phases: Mapping[str, str]) -> Iterator[Progress]:
    """Show a bar for each phase, with its text. The first step of a phase starts its clock."""
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
    )
    with _shown(*columns) as bars:
        tasks = {
            name: bars.add_task(text, start=False, total=None) for name, text in phases.items()
        }

        def show(doing: str, done: int, total: int) -> None:
            bars.start_task(tasks[doing])
            bars.update(tasks[doing], completed=done, total=total)

        yield show


@contextmanager
def _shown(
    *columns: Any, disable: bool = False, transient: bool = False
) -> Iterator["rich_progress.Progress"]:
    """Show bars made of `columns`, or of rich's default columns if there are none."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    hidden = disable or not console.is_terminal
    with Progress(*columns, console=console, disable=hidden, transient=transient) as bars:
        yield bars
