"""The fault table: what is done, and what must follow. cases.toml has a table for each case."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One line of the table; `differs` says why privedge does otherwise than it first said."""

    fault: str
    expected: str
    differs: str = ""


def _load() -> Mapping[str, Case]:
    raw = tomllib.loads(Path(__file__).with_name("cases.toml").read_text(encoding="utf-8"))
    return {f"C-{number}": Case(**fields) for number, fields in raw.items()}


CASES = _load()
