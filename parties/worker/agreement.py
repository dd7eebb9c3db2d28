"""The facts on which two workers must agree before they compute: one text, and its comparison.

The text is canonical JSON: keys sorted, no spaces, ASCII, integers in decimal, and a float as the
16 hexadecimal digits of its IEEE 754 binary64, most significant first. So equal facts have equal
texts in every language, and nothing depends on how a language prints a number. Public facts only.
"""

import hashlib
import json
import re
import struct
from collections.abc import Mapping
from typing import Any

# Far more than any text of ours has; what is longer is not looked at.
_MAX_CHARACTERS = 4096
# How much is shown of a digest, and of every other value.
_SHORT = 12
_FLOATS = ("margin", "mean_share")
# Never shown: the log must not say about whom a query asks.
_NOT_SHOWN = ("verify_position",)


def canonical(facts: Mapping[str, Any]) -> str:
    """The text of `facts`: strings, integers, booleans, None, and lists of them; and floats."""
    exact = {name: _bits(fact) if type(fact) is float else fact for name, fact in facts.items()}
    return json.dumps(exact, sort_keys=True, separators=(",", ":"))


def digest(text: str) -> bytes:
    """SHA-256 of a canonical text: what two workers compare."""
    return hashlib.sha256(text.encode("ascii")).digest()


def disagreement(mine: str, theirs: str) -> str:
    """What two texts differ in: "margin (0.8 here, 0.7 there), rounding (exact here, ...". Empty if
    `theirs` cannot be read.

    `theirs` is the other operator's: nothing of it is shown but short plain words and numbers.
    """
    here, there = json.loads(mine), _parsed(theirs)
    differing = [name for name, fact in here.items() if there and not _same(fact, there.get(name))]
    return ", ".join(
        name
        if name in _NOT_SHOWN
        else f"{name} ({_shown(here, name)} here, {_shown(there, name)} there)"
        for name in differing
    )


def _bits(value: float) -> str:
    return struct.pack(">d", value).hex()


def _parsed(text: str) -> Mapping[str, Any]:
    if len(text) > _MAX_CHARACTERS:
        return {}
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


def _shown(facts: Mapping[str, Any], name: str) -> str:
    fact = facts.get(name)
    if name in _FLOATS and isinstance(fact, str) and re.fullmatch("[0-9a-f]{16}", fact):
        return str(struct.unpack(">d", bytes.fromhex(fact))[0])
    if isinstance(fact, str) and re.fullmatch("[a-z0-9-]{1,64}", fact):
        return fact[:_SHORT]
    if isinstance(fact, list) and all(type(size) is int for size in fact):
        return "x".join(map(str, fact))[:_SHORT]
    if isinstance(fact, bool | int):
        return str(fact)[:_SHORT]
    return "something else"
