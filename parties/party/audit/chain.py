"""The lines of an audit log, and how each is tied to those before it. Pure.

A line is a JSON object with the line's number, its time, an event and the event's fields. Its last
field, `sha256`, is the digest of the previous line's `sha256` and this line without that field. So
a line that is changed, removed or moved is found, unless everything after it is written anew; that
is found with a head of the log that the other party has recorded.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_SEAL = re.compile(rb',"sha256":"([0-9a-f]{64})"}\n')
_SEAL_BYTES = len(b',"sha256":""}\n') + 64


@dataclass(frozen=True)
class Head:
    """The last line of a log: its number, and its `sha256`."""

    number: int = 0
    sha256: str = "0" * 64


# Before the first line.
EMPTY = Head()


@dataclass(frozen=True)
class Entry:
    """One line as it was read. `fields` is empty if it is none of a log; `faults` says why."""

    head: Head
    fields: Mapping[str, Any]
    faults: tuple[str, ...] = ()


def line_after(head: Head, fields: Mapping[str, Any]) -> tuple[bytes, Head]:
    """Return the next line of a log with this head, and the log's head after it."""
    number = head.number + 1
    body = json.dumps({"number": number, **fields}, separators=(",", ":")).encode()
    sealed = Head(number, _digest(head, body))
    return body[:-1] + b',"sha256":"' + sealed.sha256.encode() + b'"}\n', sealed


def read_head(line: bytes) -> Head | None:
    """Return what a line says of itself, without checking it; None if it is none of a log."""
    parts = _parts(line)
    return None if parts is None else parts[0]


def entries(lines: Iterable[bytes], before: Head = EMPTY) -> Iterator[Entry]:
    """Check every line, the first against `before`, of which the `sha256` may be empty.

    After a fault the next line is checked against what this one says.
    """
    known = bool(before.sha256)
    for line in lines:
        parts = _parts(line)
        if parts is None:
            before = Head(before.number + 1, "")
            known = False
            yield Entry(before, {}, (f"line {before.number} is damaged",))
            continue
        head, body, fields = parts
        faults = []
        if head.number > before.number + 1:
            faults.append(_missing(before.number + 1, head.number - 1))
            known = False
        elif head.number <= before.number:
            faults.append(f"line {head.number} stands after line {before.number}")
            known = False
        if known and _digest(before, body) != head.sha256:
            faults.append(f"line {head.number} was changed, or the one before it")
        before, known = head, True
        yield Entry(head, fields, tuple(faults))


def _missing(first: int, last: int) -> str:
    return f"line {first} is missing" if first == last else f"lines {first} to {last} are missing"


def _digest(before: Head, body: bytes) -> str:
    return hashlib.sha256(before.sha256.encode() + body).hexdigest()


def _parts(line: bytes) -> tuple[Head, bytes, Mapping[str, Any]] | None:
    seal = _SEAL.fullmatch(line[-_SEAL_BYTES:])
    if seal is None:
        return None
    body = line[:-_SEAL_BYTES] + b"}"
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None
    number = fields.get("number") if isinstance(fields, dict) else None
    if type(number) is not int or number < 1:
        return None
    return Head(number, seal[1].decode()), body, fields
