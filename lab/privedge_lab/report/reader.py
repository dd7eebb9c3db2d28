"""Results files below folders: found, checked, and kept with where each came from.

    1. every regular *.json below the folders, in order of their names; no link out of a folder
    2. what results.store.Results stores, or what a `privedge bench ... --json` printed
    3. whatever else is there is named, with why it was left out; so is a file found twice

Files may come from somebody else. Nothing here trusts what is in them beyond what it checks: sizes,
and that rows and settings are JSON objects. Sees figures and names, never images or models.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from privedge import regular_file
from privedge.errors import ConfigError
from privedge_lab.results.registry import EXPERIMENTS, PRINTED
from privedge_lab.results.rows.row import Row
from privedge_lab.results.rows.settings import Settings
from privedge_lab.results.rows.values import Raw, plain, whole
from privedge_lab.results.store import FORMAT

# The largest there is holds rows of a hundred owners' confusion matrices: a few megabytes.
_LARGEST = 64 << 20
_LONGEST_COMMAND = 2000
_MOST_ROWS = 10_000
_OWN_KEYS = frozenset({"format", "experiment", "settings", "rows", "command"})


@dataclass(frozen=True)
class Source:
    """One results file. `shown`: its path as the page names it; `also`: what else it held."""

    file: Path
    shown: str
    experiment: str
    settings: Raw
    rows: list[Raw] = field(repr=False)
    command: str | None = None
    also: Raw = field(default_factory=dict, repr=False)

    @property
    def seeds(self) -> list[int]:
        """Of all its rows, or of its settings."""
        given = (whole(each.get("seed")) for each in (*self.rows, self.settings))
        return sorted({seed for seed in given if seed is not None})

    @property
    def kind(self) -> type[Row]:
        """The type of its rows; of an unknown experiment that of rows without any figure."""
        known = EXPERIMENTS.get(self.experiment)
        return Row if known is None else known.row

    @cached_property
    def about(self) -> Settings:
        """Its settings, as far as pages show them."""
        return Settings.read(self.settings)

    @cached_property
    def typed(self) -> tuple[Row, ...]:
        """Its rows, each of its kind."""
        return tuple(map(self.kind.read, self.rows))


R = TypeVar("R", bound=Row)
R_co = TypeVar("R_co", bound=Row, covariant=True)


@dataclass(frozen=True)
class File(Generic[R_co]):
    """One results file with its rows as what they are."""

    source: Source
    rows: tuple[R_co, ...] = field(repr=False)

    @property
    def shown(self) -> str:
        """Its path as the page names it."""
        return self.source.shown

    @property
    def about(self) -> Settings:
        """Its settings."""
        return self.source.about


@dataclass(frozen=True)
class Skipped:
    """A file that is not on the page."""

    shown: str
    why: str


@dataclass(frozen=True)
class Found:
    """Everything that was read."""

    sources: tuple[Source, ...]
    skipped: tuple[Skipped, ...] = ()

    def of(self, *kinds: type[R]) -> list[File[R]]:
        """The files with rows of these types, in the order found."""
        return [
            File(source, cast(tuple[R, ...], source.typed))
            for source in self.sources
            if source.kind in kinds
        ]


def read(given: Sequence[Path]) -> Found:
    """All results below `given` (folders or files).

    Raises ConfigError for what is not there, and if there are no results at all.
    """
    sources: list[Source] = []
    skipped: list[Skipped] = []
    for file, shown in _files(given):
        try:
            source = _source(file, shown)
        except ValueError as error:
            skipped.append(Skipped(shown, str(error)))
            continue
        same = next((each for each in sources if _holds_the_same(each, source)), None)
        if same is not None:
            skipped.append(Skipped(shown, f"holds the same rows as {same.shown}"))
            continue
        sources.append(source)
    if not sources:
        named = ", ".join(plain(str(path)) for path in given)
        why = f"; first: {skipped[0].shown} {skipped[0].why}" if skipped else ""
        raise ConfigError(f"{named}: no results file found{why}")
    return Found(tuple(sources), tuple(skipped))


def _files(given: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Each file once, with how the page names it: from its folder on, not where that lies."""
    seen: set[Path] = set()
    for top in given:
        if not top.exists():
            raise ConfigError(f"{plain(str(top))}: is not there; give folders with results files")
        inside = [top] if top.is_file() else _below(top)
        whole = top.resolve()
        for file in inside:
            target = file.resolve()
            if target in seen or not target.is_relative_to(whole):
                continue
            seen.add(target)
            yield file, plain(str(Path(whole.name) / file.relative_to(top)))


def _below(folder: Path) -> Iterable[Path]:
    for here, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.endswith(".json") and (Path(here) / name).is_file():
                yield Path(here) / name


def _source(file: Path, shown: str) -> Source:
    """Raises ValueError with the reason why it is none."""
    document = _document(file)
    if (printed := _printed(document)) is not None:
        key, experiment = printed
        rows, command = _rows(document[key]), _command(document)
        return Source(file, shown, experiment, _measured_on(document), rows, command)
    if document.get("format") != FORMAT or not isinstance(document.get("experiment"), str):
        raise ValueError("is no results file of format 1")
    if not isinstance(document.get("settings"), dict) or not isinstance(document.get("rows"), list):
        raise ValueError("has no settings and rows")
    return Source(
        file,
        shown,
        plain(document["experiment"]),
        document["settings"],
        _rows(document["rows"]),
        _command(document),
        {key: value for key, value in document.items() if key not in _OWN_KEYS},
    )


def _printed(document: Raw) -> tuple[str, str] | None:
    """The key of the rows that a bench printed, and the bench's name; None for other documents."""
    for key, names in PRINTED.items():
        # Stored files have keys of the same name; what a bench prints under one names a processor.
        told_apart = key not in _OWN_KEYS or ("processor" in document and "format" not in document)
        if told_apart and isinstance(document.get(key), list):
            return key, _likeliest(names, document[key])
    return None


def _likeliest(names: Sequence[str], rows: list[Any]) -> str:
    """Which bench printed the rows: the one whose fields the first row has."""
    keys = set(rows[0]) if rows and isinstance(rows[0], dict) else set()
    return max(names, key=lambda name: len(keys & {*EXPERIMENTS[name].row.names()}))


def _measured_on(document: Raw) -> Raw:
    """The processor as a setting; older files do not name it."""
    name = document.get("processor")
    return {"processor": plain(name)} if isinstance(name, str) and name else {}


def _document(file: Path) -> Raw:
    try:
        if regular_file.require(file).st_size > _LARGEST:
            raise ValueError(f"is larger than {_LARGEST >> 20} MiB")
        document = json.loads(regular_file.read(file))
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise ValueError("is not JSON") from None
    if not isinstance(document, dict):
        raise ValueError("is not a JSON object")
    return document


def _rows(rows: list[Any]) -> list[Raw]:
    if not rows:
        raise ValueError("has no rows yet")
    if len(rows) > _MOST_ROWS:
        raise ValueError(f"has more than {_MOST_ROWS} rows")
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("has rows that are no JSON objects")
    return rows


def _command(document: Raw) -> str | None:
    command = document.get("command")
    return plain(command, _LONGEST_COMMAND) if isinstance(command, str) and command else None


def _holds_the_same(one: Source, other: Source) -> bool:
    return (one.experiment, one.settings, one.rows) == (
        other.experiment,
        other.settings,
        other.rows,
    )
