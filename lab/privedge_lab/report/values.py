"""Figures out of rows that may come from anybody, and how they are written.

A figure that is missing, of another type or not finite is None, and is shown as not measured.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]

NOT_MEASURED = "not measured"
_LONGEST = 200
_BEYOND = 10**15
# A figure and its unit stay on one line.
_GAP = "\N{NO-BREAK SPACE}"


def number(row: Row, *names: str) -> float | None:
    """The figure at row[names[0]][names[1]]..., if there is one that can be a measurement."""
    value: Any = row
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Not only not finite ones: nothing that is measured is beyond, and drawing it would overflow.
    return float(value) if -_BEYOND < value < _BEYOND else None


def text(row: Row, name: str, default: str = "") -> str:
    """A string, number or truth value as text, cut to a sensible length; else `default`."""
    value = row.get(name)
    if isinstance(value, str | int | float):
        return plain(str(value) if not isinstance(value, float) else f"{value:g}")
    return default


def plain(words: str, most: int = _LONGEST) -> str:
    """`words` on one line, without control characters, at most `most` of them."""
    shown = "".join(letter if letter.isprintable() else " " for letter in words[: 2 * most])
    shown = " ".join(shown.split())
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def seed_of(row: Row) -> int | None:
    """The row's seed."""
    value = row.get("seed")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(frozen=True)
class Spread:
    """The mean of several figures, and the least and the greatest of them."""

    mean: float
    low: float
    high: float
    count: int


def spread(values: Iterable[float | None]) -> Spread | None:
    """Of those that are there; None if none is."""
    there = [value for value in values if value is not None]
    if not there:
        return None
    return Spread(math.fsum(there) / len(there), min(there), max(there), len(there))


def in_order(values: Iterable[str]) -> list[str]:
    """Each once, in the order of first appearance."""
    return list(dict.fromkeys(values))


def percent(share: float | None, digits: int = 1) -> str:
    """0.8457 as 84.6 %."""
    return NOT_MEASURED if share is None else f"{100 * share:.{digits}f}{_GAP}%"


def points(share: float) -> str:
    """A difference of shares in percentage points, without its sign."""
    return f"{abs(100 * share):.1f}{_GAP}points"


def percents(found: Spread | None) -> str:
    """The mean, and the range if there are several."""
    if found is None:
        return NOT_MEASURED
    low, high = f"{100 * found.low:.1f}", f"{100 * found.high:.1f}"
    return (
        percent(found.mean) if low == high else f"{percent(found.mean)} ({low}{_GAP}to{_GAP}{high})"
    )


def decibels(value: float | None, plus_minus: float | None = None) -> str:
    """25.5 dB, with its interval if that is known."""
    if value is None:
        return NOT_MEASURED
    return (
        f"{value:.1f}{_GAP}dB" if plus_minus is None else f"{value:.1f} ± {plus_minus:.1f}{_GAP}dB"
    )


def seconds(value: float | None) -> str:
    """In the unit that people would use."""
    if value is None:
        return NOT_MEASURED
    if abs(value) >= 120:
        return f"{value / 60:.0f}{_GAP}min"
    if abs(value) >= 1:
        return f"{value:.1f}{_GAP}s"
    return f"{1000 * value:.{0 if abs(value) >= 0.01 else 1}f}{_GAP}ms"


def size(value: float | None) -> str:
    """Bytes, in powers of ten."""
    if value is None:
        return NOT_MEASURED
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= one:
            return f"{value / one:.3g}{_GAP}{unit}"
    return f"{value:.0f}{_GAP}bytes"


def plural(count: float, what: str) -> str:
    """1 owner, 33 owners."""
    return f"{count:.0f} {what}" if round(count) == 1 else f"{count:.0f} {what}s"


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
