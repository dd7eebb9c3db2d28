"""Read the histograms that this party's workers wrote: sums with noise, and nothing else."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from parties.config.telemetry import FOLDER
from privedge.errors import ConfigError

_BAR = 40


def histograms(state: Path, cohort: str = "") -> list[Mapping[str, Any]]:
    """Every histogram in a party's `state`, oldest first for each cohort; of one cohort if named.

    Raises ConfigError for a file that is no such thing, and for a cohort without any.
    """
    files = sorted((state / FOLDER).glob("*.jsonl"))
    if cohort:
        files = [file for file in files if file.stem == cohort]
        if not files:
            raise ConfigError(
                f"cohort {cohort}: nothing was opened yet; see docs/how-to/telemetry.md"
            )
    return [line for file in files for line in _lines(file)]


def _lines(file: Path) -> Iterator[Mapping[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            found = json.loads(line)
            _ = [int(count) for count in found["counts"]], str(found["from"]), int(found["answers"])
        except (ValueError, TypeError, KeyError):
            raise ConfigError(f"{file}: line {number} is no histogram; remove the line") from None
        yield found


def as_text(histogram: Mapping[str, Any]) -> Iterator[str]:
    """One histogram for people: a head, and a line for each bin with the part that lies below its
    end. Noise can make a count negative.
    """
    yield (
        f"{histogram['cohort']}, from {histogram['from']}: {histogram['answers']} answers, "
        f"epsilon {histogram['epsilon']:g} for each {histogram['unit']}"
    )
    yield "score           answers  known at this margin"
    counts: Sequence[int] = histogram["counts"]
    most, start = max(1, *counts), 0.0
    for count, (end, part) in zip(counts, share_below(histogram), strict=True):
        bar = "#" * round(_BAR * max(0, count) / most)
        yield f"{start:.3f} - {end:.3f} {count:>8}  {part:>7.1%}  {bar}".rstrip()
        start = end


def share_below(histogram: Mapping[str, Any]) -> Iterator[tuple[float, float]]:
    """(end of each bin, part of the answers with a score below it)."""
    counts: Sequence[int] = histogram["counts"]
    below = 0
    for place, count in enumerate(counts, start=1):
        below += count
        yield place / len(counts), below / max(1, histogram["answers"])
