"""A confusion matrix as cells: whose an image is (row), what was answered (column)."""

from collections.abc import Sequence
from dataclasses import dataclass

from privedge_lab.results.rows.identify import IdentifyRow
from privedge_lab.results.rows.values import Confusion

# Larger ones are no picture any more; the list of confusions has what matters.
_MOST_OWNERS = 120


@dataclass(frozen=True)
class Cell:
    """`share` of the row's images."""

    row: int
    column: int
    count: int
    share: float


@dataclass(frozen=True)
class Matrix:
    """Cells that are not empty. The last column is "nobody"."""

    owners: tuple[str, ...]
    cells: tuple[Cell, ...]

    @property
    def confusions(self) -> list[Cell]:
        """The mistakes, most frequent first."""
        wrong = [cell for cell in self.cells if cell.row != cell.column]
        return sorted(wrong, key=lambda cell: (-cell.count, -cell.share, cell.row, cell.column))

    @property
    def drawable(self) -> bool:
        """Not too large to be looked at."""
        return len(self.owners) <= _MOST_OWNERS

    def named(self, column: int) -> str:
        """The owner of a column."""
        return self.owners[column] if column < len(self.owners) else "nobody"


def matrix(owners: Sequence[str], rows: Sequence[IdentifyRow]) -> Matrix | None:
    """The sum of the rows' confusions; None if one is missing or of another shape."""
    count = len(owners)
    total = [[0] * (count + 1) for _ in range(count)]
    for row in rows:
        if row.confusion is None or not _fits(row.confusion, count):
            return None
        for line, summed in zip(row.confusion, total, strict=True):
            for at, value in enumerate(line):
                summed[at] += value
    cells = [
        Cell(at, column, value, value / sum(line))
        for at, line in enumerate(total)
        for column, value in enumerate(line)
        if value > 0
    ]
    return Matrix(tuple(owners), tuple(cells)) if cells else None


def _fits(confusion: Confusion, count: int) -> bool:
    return len(confusion) == count and all(len(line) == count + 1 for line in confusion)
