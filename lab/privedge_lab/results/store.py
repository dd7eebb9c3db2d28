"""Rows of an experiment in one JSON file, written after each row so that a run can be resumed.

    {"format": 1, "experiment": NAME, "command": "...", "settings": {...}, "rows": [{...}, ...]}

A row's `configuration` says what was measured; with its seed it names the row. `command` is the
shell command that began the file, and is left out where none was given.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from privedge import private_file, regular_file
from privedge.errors import ConfigError
from privedge_lab.results.rows.row import R, Row
from privedge_lab.results.rows.values import Raw

FORMAT = 1


class Results:
    """The rows so far, in memory and on disk (if `path` is given)."""

    def __init__(
        self,
        experiment: str,
        settings: Raw,
        path: Path | None = None,
        *,
        resume: bool = False,
        command: str | None = None,
    ) -> None:
        """With `resume`, go on with what `path` holds; else an existing file is refused.

        A resumed file keeps the command that began it, and may be resumed by another one.

        Raises ConfigError for a file of another experiment or other settings.
        """
        self.experiment, self.settings, self.command = experiment, settings, command
        self.rows: list[Raw] = []
        self._path = path
        if path is not None and path.exists():
            if not resume:
                raise ConfigError(f"{path}: exists; give --resume to go on with it, or remove it")
            self.rows = self._stored(path)

    def find(self, configuration: Raw) -> Raw | None:
        """The row measured under exactly `configuration`, if there is one."""
        wanted = json.loads(json.dumps(configuration))
        for row in self.rows:
            if all(row.get(name) == value for name, value in wanted.items()):
                return row
        return None

    def row(self, kind: type[R], configuration: Raw) -> R | None:
        """What `find` finds, as a row of its kind."""
        found = self.find(configuration)
        return None if found is None else kind.read(found)

    def read(self, kind: type[R]) -> list[R]:
        """All rows, as rows of their kind."""
        return list(map(kind.read, self.rows))

    def add(self, row: Raw) -> None:
        """Append `row` and store all rows."""
        self.rows.append(json.loads(json.dumps(row)))
        if self._path is not None:
            private_file.write(self._path, json.dumps(self.document(), indent=1).encode())

    def document(self) -> Raw:
        """What is stored, and what `--json` prints."""
        named: Raw = {"format": FORMAT, "experiment": self.experiment}
        if self.command is not None:
            named["command"] = self.command
        return named | {"settings": self.settings, "rows": self.rows}

    def _stored(self, path: Path) -> list[Raw]:
        try:
            document = json.loads(regular_file.read(path))
            same = (document["format"], document["experiment"], document["settings"]) == (
                FORMAT,
                self.experiment,
                json.loads(json.dumps(self.settings)),
            )
            rows = list(document["rows"])
            command = document.get("command", self.command)
        except (OSError, ValueError, KeyError, TypeError):
            raise ConfigError(f"{path}: is not a results file; choose another name") from None
        if not same:
            raise ConfigError(
                f"{path}: holds another experiment or other settings; choose another name"
            )
        self.command = command
        return rows


def summary(rows: Sequence[Row]) -> Raw:
    """The mean over `rows` of every figure of the first, nested ones too.

    None for what is None in any of them; the seed and what is no number is left out.
    """
    return _means([row.to_json() for row in rows])


def means_by(by: Sequence[str], rows: Sequence[Row]) -> list[Raw]:
    """`summary` of the rows that are equal in `by`, such as the seeds of one level; in their order.

    A mean has the values of `by` as they are.
    """
    groups: dict[str, list[Raw]] = {}
    for row in map(Row.to_json, rows):
        groups.setdefault(json.dumps([row[name] for name in by]), []).append(row)
    return [
        {name: group[0][name] for name in by} | _means([_without(row, by) for row in group])
        for group in groups.values()
    ]


def _means(rows: Sequence[Raw]) -> Raw:
    means: Raw = {}
    for name, first in rows[0].items():
        values = [row.get(name) for row in rows]
        if any(value is None for value in values):
            means[name] = None
        elif isinstance(first, dict):
            means[name] = _means([row[name] for row in rows])
        elif isinstance(first, int | float) and name != "seed":
            means[name] = fmean(row[name] for row in rows)
    return means


def _without(row: Raw, names: Sequence[str]) -> Raw:
    return {name: value for name, value in row.items() if name not in names}
