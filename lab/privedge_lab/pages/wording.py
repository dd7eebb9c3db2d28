"""How figures are written; one that is None is shown as not measured."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NOT_MEASURED = "not measured"
# A figure and its unit stay on one line.
_GAP = "\N{NO-BREAK SPACE}"


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


def bare(value: float | None, default: str = "") -> str:
    """The figure without a unit, a count with all its digits."""
    if value is None:
        return default
    return str(value) if isinstance(value, int) else f"{value:g}"


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
