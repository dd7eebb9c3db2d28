"""The page: all sections of everything found, as one HTML file that needs nothing else.

No script, no network: pictures and charts are inside, and the page's own policy forbids the browser
to fetch or run anything. Every text from a file goes through the template's escaping.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import groupby

import privedge
from privedge.errors import ConfigError
from privedge.progress import Progress
from privedge_lab.pages import page as pages
from privedge_lab.pages.svg import KINDS
from privedge_lab.report import approaches, summary, trust
from privedge_lab.report.blocks import Block, Curve, Grid, Origin, Picture, Rows, Section, origin
from privedge_lab.report.pictures import BUDGET, Album
from privedge_lab.report.reader import Found, Skipped
from privedge_lab.report.sections import (
    attributes,
    conditions,
    costs,
    disguising,
    fairness,
    growth,
    inversion,
    original,
    others,
    owners,
    parties,
    signals,
)

# Which figures stand beside each other, by the class that the style sheet knows.
_KINDS = {Curve: "figures", Rows: "figures", Grid: "figures", Picture: "pictures"}
# By the name that results.registry has, in the order of the page.
SECTIONS: Mapping[str, Callable[[Found, Album], Section | None]] = {
    "owners": lambda found, _: owners.section(found),
    "conditions": lambda found, _: conditions.section(found),
    "scale": lambda found, _: growth.section(found),
    "fairness": lambda found, _: fairness.section(found),
    "original": lambda found, _: original.section(found),
    "parties": lambda found, _: parties.section(found),
    "inversion": inversion.section,
    "signals": lambda found, _: signals.section(found),
    "attributes": lambda found, _: attributes.section(found),
    "disguising": disguising.section,
    "costs": lambda found, _: costs.section(found),
    "others": others.section,
}
# What a mail server still takes, and a phone still opens.
LARGEST = 15_000_000


@dataclass(frozen=True)
class Page:
    """`html` as UTF-8. `figures`: how many there are; `skipped`: files that are not on it;
    `pictured`: bytes of its pictures before they became text.
    """

    html: bytes = field(repr=False)
    figures: int
    skipped: tuple[Skipped, ...]
    pictured: int


@dataclass(frozen=True)
class _Named:
    """A block with an id of its own."""

    name: str
    block: Block


@dataclass(frozen=True)
class _Run:
    """Blocks that follow each other; figures share a row where there is room."""

    kind: str
    blocks: tuple[_Named, ...]


@dataclass(frozen=True)
class _Placed:
    """A section, as the template shows it."""

    name: str
    title: str
    short: str
    runs: tuple[_Run, ...]


@dataclass(frozen=True)
class _File:
    """A line of the list of files at the end."""

    origin: Origin
    experiment: str
    rows: int


def render(found: Found, title: str, progress: Progress = lambda *_: None) -> Page:
    """The page of `found`; `progress` is told of each section, how many are done, and of how many.

    Pictures give way to the rest. Raises ConfigError if the page would be too large without any,
    which takes very many results files.
    """
    answers = summary.answers(found)
    texts = {
        "title": title,
        "version": privedge.__version__,
        "lead": summary.lead(found, answers),
        "answers": answers,
        "approaches": approaches.approaches(found),
    }
    page = _page(found, texts, BUDGET, progress)
    beyond = len(page.html) - LARGEST
    if beyond > 0:
        # Base64 makes four bytes of three.
        page = _page(found, texts, max(0, page.pictured - beyond * 3 // 4), progress)
    if len(page.html) > LARGEST:
        raise ConfigError(
            f"the page would have {len(page.html) / 1e6:.0f} MB; give fewer folders, a page each"
        )
    return page


def _page(found: Found, texts: Mapping[str, object], budget: int, progress: Progress) -> Page:
    album = Album(found, budget)
    sections = []
    for done, make in enumerate(SECTIONS.values()):
        section = make(found, album)
        if section is not None:
            progress(section.short, done, len(SECTIONS))
            sections.append(section)
    skipped = (*found.skipped, *album.skipped)
    files = [_File(origin(each), each.experiment, len(each.rows)) for each in found.sources]
    html = pages.render(
        "privedge_lab.report",
        **texts,
        sections=[_placed(section) for section in sections],
        affordable=f"{100 * approaches.AFFORDABLE:.0f}",
        trust=trust,
        files=files,
        skipped=skipped,
        kinds=range(KINDS),
    )
    return Page(html, sum(map(_figures, sections)), skipped, budget - album.left)


def _placed(section: Section) -> _Placed:
    named = [
        _Named(f"{section.name}-{number}", block) for number, block in enumerate(section.blocks)
    ]
    runs = groupby(named, key=lambda each: _KINDS.get(type(each.block), ""))
    return _Placed(
        section.name,
        section.title,
        section.short,
        tuple(_Run(kind, tuple(blocks)) for kind, blocks in runs),
    )


def _figures(section: Section) -> int:
    return sum(type(block) in _KINDS for block in section.blocks)
