"""Progress bars for commands that say what they are doing, and how much of it is done."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bars:
    """One bar for the whole, and one for each owner that is being trained."""

    def __init__(self, bars: "Progress") -> None:
        self._bars = bars
        self._whole = bars.add_task("start", total=None)
        self._owners: dict[str, TaskID] = {}

    def __call__(self, doing: str, done: int, total: int) -> None:
        """Of the whole: what is being done, and how much of it is."""
        self._bars.update(self._whole, description=doing, completed=done, total=total)

    def owner(self, name: str, step: int, steps: int, error: float) -> None:
        """Of one owner's training; its bar goes with the last step."""
        if name not in self._owners:
            self._owners[name] = self._bars.add_task("", total=steps)
        said = f"  {name}, error {error:.4g}"
        self._bars.update(self._owners[name], description=said, completed=step, total=steps)
        if step >= steps:
            self._bars.remove_task(self._owners.pop(name))


@contextmanager
def progress_bar() -> Iterator[Bars]:
    """Bars on standard error, on a terminal only."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bars:
        yield Bars(bars)
