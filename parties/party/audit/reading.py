"""What an operator reads from an audit log: whether it is whole, and what is in it."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from parties.party.audit.chain import EMPTY, Head, entries
from parties.party.audit.files import files_of, lines_of
from parties.party.audit.heads import heads_in
from privedge.errors import ConfigError


def verify(folder: Path, peer_heads: Path | None, first: int) -> Iterator[str]:
    """Return a line for each fault of the log in `folder`.

    peer_heads: what `audit heads` printed at the other party, or None. first: the number of the
    first line that must be there; those before it are kept elsewhere. Raises ConfigError.
    """
    recorded = [] if peer_heads is None else _read_heads(peer_heads)
    yield from _steps_back(recorded)
    expected: dict[int, set[str]] = defaultdict(set)
    for head in recorded:
        expected[head.number].add(head.sha256)
    if not files_of(folder):
        yield f"{folder}: there is no audit log"
    before = EMPTY if first == 1 else Head(first - 1, "")
    last = before.number
    for entry in entries(lines_of(folder), before):
        yield from entry.faults
        last = entry.head.number
        if expected.get(last, set()) - {entry.head.sha256}:
            yield f"line {last} is another one than the other party has recorded"
    if files_of(folder) and last == before.number:
        yield f"{folder}: the log is empty, and every party writes a line when it starts"
    for number in sorted(number for number in expected if number > last)[-1:]:
        yield f"the log ends with line {last}; the other party has recorded line {number}"


def heads(folder: Path) -> Iterator[str]:
    """Return the heads of the other party's log in this one, each as a line of JSON.

    Raises ConfigError, after all heads that can be read, if there are others.
    """
    damaged = 0
    for found in heads_in(lines_of(folder)):
        if found is None:
            damaged += 1
            continue
        when, head = found
        yield json.dumps({"number": head.number, "sha256": head.sha256, "time": when})
    if damaged:
        raise ConfigError(
            f"{folder}: {damaged} recorded heads are damaged; run `python -m parties audit verify`"
        )


def shown(
    folder: Path, *, event: str | None, who: str | None, since: datetime | None
) -> Iterator[Mapping[str, Any]]:
    """Return the fields of the lines that fit, in order.

    event: the event's name. who: a value that one of the fields must have, such as a name or a
    model's id. since: with a time zone.
    """
    for entry in entries(lines_of(folder), Head(0, "")):
        fields = entry.fields
        if (
            fields
            and (event is None or fields.get("event") == event)
            and (who is None or who in [str(value) for value in fields.values()])
            and (since is None or datetime.fromisoformat(str(fields.get("time"))) >= since)
        ):
            yield fields


def as_text(fields: Mapping[str, Any]) -> str:
    """Return one line for people."""
    said = {**fields}
    start = f"{said.pop('number')}  {said.pop('time')}  {said.pop('event')}"
    return "  ".join([start, *(f"{name}={value}" for name, value in said.items())])


def _steps_back(recorded: Sequence[Head]) -> Iterator[str]:
    """A log only grows. What the other party has recorded says so even if it has grown since."""
    for before, head in pairwise(recorded):
        if head.number < before.number:
            yield (
                f"the log had {before.number} lines, and only {head.number} the next time that the "
                "other party looked"
            )


def _read_heads(path: Path) -> list[Head]:
    """In the order in which they were recorded."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [Head(int(row["number"]), str(row["sha256"])) for row in rows]
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ConfigError(f"{path}: not what `python -m parties audit heads` prints") from None
