"""Values out of JSON that may come from anybody.

What is missing, of another type or not finite is None, and is shown as not measured.
"""

from typing import Any

# A JSON object.
Raw = dict[str, Any]
# Counts are figures too: the mean of counts is no whole number.
Figure = float | None
Text = str | None
Flag = bool | None
# A value that is a number in one row and a name in another.
Value = float | str | None
# Whose images are meant (row) and what was answered (column).
Confusion = tuple[tuple[int, ...], ...]

_LONGEST = 200
_BEYOND = 10**15
_MOST_COUNTED = 1 << 40


def number(row: object, *names: str) -> Figure:
    """The figure at row[names[0]][names[1]]..., if there is one that can be a measurement."""
    value: Any = row
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Not only not finite ones: nothing that is measured is beyond, and drawing it would overflow.
    return value if -_BEYOND < value < _BEYOND else None


def text(value: object) -> Text:
    """A string, number or truth value as text, cut to a sensible length."""
    if isinstance(value, str | int | float):
        return plain(str(value) if not isinstance(value, float) else f"{value:g}")
    return None


def whole(value: object) -> int | None:
    """A whole number such as a seed."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def flag(value: object) -> Flag:
    """True or False."""
    return value if isinstance(value, bool) else None


def number_or_text(value: object) -> Value:
    """A figure, or else a name; None only for what is not there."""
    found = number(value)
    if found is not None or value is None:
        return found
    return text(value) or "unnamed"


def confusion(value: object) -> Confusion | None:
    """A list of lists of counts."""
    if not isinstance(value, list) or not all(isinstance(line, list) for line in value):
        return None
    if not all(type(each) is int and 0 <= each < _MOST_COUNTED for line in value for each in line):
        return None
    return tuple(tuple(line) for line in value)


def plain(words: str, most: int = _LONGEST) -> str:
    """`words` on one line, without control characters, at most `most` of them."""
    shown = "".join(letter if letter.isprintable() else " " for letter in words[: 2 * most])
    shown = " ".join(shown.split())
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def shown(value: Figure, how: str, *, per: float = 1.0) -> str:
    """The value divided by `per`, formatted as `how` says; "-" for what was not measured."""
    return "-" if value is None else format(value / per, how)
