"""What a page is made of: sections of paragraphs, tables and figures, each with its evidence.

Evidence is what a reader can check a figure by: files, seeds, the command, and the settings and
rows behind it as JSON, cut to what the figure was made of. Sees figures and names only.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from privedge_lab.pages.charts import Chart
from privedge_lab.pages.strips import Strips
from privedge_lab.pages.svg import Drawing, draw
from privedge_lab.pages.wording import listed
from privedge_lab.report.matrix import Matrix
from privedge_lab.report.reader import Source
from privedge_lab.results.rows.row import Row
from privedge_lab.results.rows.values import Raw

# Characters of JSON under one figure; the files themselves hold everything.
_MOST_EVIDENCE = 40_000


@dataclass(frozen=True)
class Origin:
    """One file behind a figure, and how it came to be."""

    shown: str
    seeds: str
    command: str | None


@dataclass(frozen=True)
class Evidence:
    """`document` is JSON: for each file its settings and the rows behind the figure."""

    origins: tuple[Origin, ...]
    document: str = field(repr=False)

    @property
    def seeds(self) -> str:
        """Those of all files, each once."""
        return "; ".join(dict.fromkeys(each.seeds for each in self.origins if each.seeds))


@dataclass(frozen=True)
class Paragraph:
    """Text; `kind` is "", "lead", "soft" or "warning"."""

    block: ClassVar[str] = "paragraph"
    text: str
    kind: str = ""


@dataclass(frozen=True)
class Missing:
    """Something that the results do not hold, and the command that measures it."""

    block: ClassVar[str] = "missing"
    what: str
    command: str


@dataclass(frozen=True)
class Table:
    """`rows` begin with their own heading. A `folded` table is shown when asked for."""

    block: ClassVar[str] = "table"
    caption: str
    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    evidence: Evidence | None = None
    folded: str = ""


@dataclass(frozen=True)
class Curve:
    """A drawn chart. `says` is what it shows in words, for whoever cannot see it."""

    block: ClassVar[str] = "curve"
    title: str
    caption: str
    drawing: Drawing = field(repr=False)
    says: str
    evidence: Evidence


@dataclass(frozen=True)
class Rows:
    """Figures of several kinds, one row a data set."""

    block: ClassVar[str] = "rows"
    title: str
    caption: str
    strips: Strips = field(repr=False)
    evidence: Evidence

    @property
    def says(self) -> str:
        """The figures in words."""
        return self.strips.says


@dataclass(frozen=True)
class Grid:
    """A confusion matrix."""

    block: ClassVar[str] = "grid"
    title: str
    caption: str
    matrix: Matrix = field(repr=False)
    says: str
    evidence: Evidence


@dataclass(frozen=True)
class Picture:
    """A picture that lay beside the results; `uri` has it in full."""

    block: ClassVar[str] = "picture"
    title: str
    caption: str
    uri: str = field(repr=False)
    width: int
    height: int
    says: str
    evidence: Evidence


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    block: ClassVar[str] = "heading"
    text: str


Block = Paragraph | Missing | Table | Curve | Rows | Grid | Picture | Heading


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it; `name` is its anchor, `short` stands in the menu."""

    name: str
    title: str
    short: str
    blocks: tuple[Block, ...]


def curve(title: str, caption: str, chart: Chart, evidence: Evidence) -> Curve:
    """A figure of `chart`."""
    return Curve(title, caption, draw(chart), chart.says(), evidence)


def evidence(used: Iterable[tuple[Source, Sequence[Row]]], fields: Sequence[str] = ()) -> Evidence:
    """These rows of these files as they are stored; of each row the `fields`, or all of them."""
    given = list(used)
    left = _MOST_EVIDENCE
    documents = []
    for source, rows in given:
        document, size = _cut(source, [_only(row.as_stored(), fields) for row in rows], left)
        documents.append(document)
        left = max(0, left - size)
    whole = documents[0] if len(documents) == 1 else documents
    text = json.dumps(whole, indent=1, ensure_ascii=False)
    return Evidence(tuple(origin(source) for source, _ in given), text)


def origin(source: Source) -> Origin:
    """Where a figure from `source` comes from."""
    seeds = listed([str(seed) for seed in source.seeds[:20]])
    if len(source.seeds) > 20:
        seeds = f"{len(source.seeds)} of them, {source.seeds[0]} to {source.seeds[-1]}"
    return Origin(source.shown, seeds, source.command)


def _only(row: Raw, fields: Sequence[str]) -> Raw:
    return {name: row[name] for name in fields if name in row} if fields else row


def _cut(source: Source, rows: Sequence[Raw], most: int) -> tuple[Raw, int]:
    """The document and its size; rows that go beyond `most` characters are counted instead."""
    kept, size = [], 0
    for row in rows:
        size += len(json.dumps(row, ensure_ascii=False))
        if size > most:
            break
        kept.append(row)
    document: Raw = {"file": source.shown, "experiment": source.experiment}
    settings = len(json.dumps(source.settings))
    size += settings
    document["settings"] = source.settings if settings <= _MOST_EVIDENCE else "too long to show"
    document["rows"] = kept
    if len(kept) < len(rows):
        document["rows_left_out"] = len(rows) - len(kept)
    return document, size
