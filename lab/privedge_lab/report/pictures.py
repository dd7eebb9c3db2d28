"""Pictures that lie beside results: contact sheets and figures of attacks, as data URIs.

Drawn smaller and encoded anew, so that nothing but pixels of a PNG file gets onto a page, and not
too many bytes. They may show faces: a report with reconstructions is as private as they are.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from privedge import regular_file
from privedge_lab.pages.page import data_uri
from privedge_lab.report.reader import Found, Skipped, Source
from privedge_lab.results.registry import EXPERIMENTS
from privedge_lab.results.rows.values import plain

# Bytes of all pictures of a page together; base64 makes a third more of them.
BUDGET = 9_000_000
# Larger ones are not opened: a small file can say that it is a very large picture.
_MOST_PIXELS = 40_000_000
_WIDEST, _HIGHEST = 1400, 6000
_QUALITY = 85


@dataclass(frozen=True)
class Inline:
    """A picture ready for a page; `name` is that of its file without the ending."""

    name: str
    shown: str
    uri: str = field(repr=False)
    width: int
    height: int


class Album:
    """Encodes what lies beside each results file while there are bytes `left`."""

    def __init__(self, found: Found, budget: int = BUDGET) -> None:
        self._of: dict[int, list[Path]] = {}
        for source, file in _beside(found.sources):
            self._of.setdefault(id(source), []).append(file)
        self.left = budget
        self.skipped: list[Skipped] = []

    def of(self, source: Source) -> list[Inline]:
        """The pictures of `source`; what cannot be shown is noted in `skipped`."""
        inline = []
        for file in self._of.get(id(source), []):
            shown = plain(str(Path(source.shown).parent / file.name))
            try:
                picture = _encoded(file, shown)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                self.skipped.append(Skipped(shown, "cannot be shown as a PNG picture"))
                continue
            if len(picture.uri) * 3 // 4 > self.left:
                self.skipped.append(Skipped(shown, "is left out: the page is large enough"))
                continue
            self.left -= len(picture.uri) * 3 // 4
            inline.append(picture)
        return inline


def _beside(sources: Sequence[Source]) -> Iterator[tuple[Source, Path]]:
    """Each picture with whose it is, by folder."""
    for folder in dict.fromkeys(source.file.parent for source in sources):
        here = [source for source in sources if source.file.parent == folder]
        for file in sorted(folder.glob("*.png")):
            if file.is_symlink() or not file.is_file():
                continue
            owner = _whose(file, here)
            known = EXPERIMENTS.get(owner.experiment)
            if known is None or file.name not in known.drawn_by_report:
                yield owner, file


def _whose(file: Path, here: Sequence[Source]) -> Source:
    named = [source for source in here if file.stem.startswith(source.file.stem)]
    if named:
        return max(named, key=lambda source: len(source.file.stem))
    # The experiment listed first has pictures without a name.
    pictured = [name for name, each in EXPERIMENTS.items() if each.pictured]
    drawn = [source for name in pictured for source in here if source.experiment == name]
    return (drawn or list(here))[0]


def _encoded(file: Path, shown: str) -> Inline:
    with regular_file.opened(file) as source, Image.open(source, formats=["PNG"]) as opened:
        if opened.width * opened.height > _MOST_PIXELS:
            raise ValueError
        picture = opened.convert("RGB")
    times = min(1.0, _WIDEST / picture.width, _HIGHEST / picture.height)
    if times < 1:
        smaller = (max(1, round(picture.width * times)), max(1, round(picture.height * times)))
        picture = picture.resize(smaller, Image.Resampling.LANCZOS)
    kind, raw = min((_png(picture), _jpeg(picture)), key=lambda each: len(each[1]))
    return Inline(plain(file.stem), shown, data_uri(kind, raw), picture.width, picture.height)


def _png(picture: Image.Image) -> tuple[str, bytes]:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return "png", file.getvalue()


def _jpeg(picture: Image.Image) -> tuple[str, bytes]:
    """Full colour resolution: captions in the picture stay sharp.

    Not optimised: for noise, as reconstructions can be, Pillow's buffer is then too small.
    """
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY, subsampling=0)
    return "jpeg", file.getvalue()
