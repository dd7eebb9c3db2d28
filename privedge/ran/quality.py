"""Say what is wrong with pictures or vectors before a model learns from them, or somebody asks.

    few        fewer than a model needs to know its owner
    alike      nearly the same picture several times: the set holds less than it seems to
    dark, bright, flat (no contrast), blurred
    mixed      one picture unlike all others of its owner; perhaps it shows somebody else
    shared     the same picture in two owners' sets
    constant   columns of vectors that never change
    repeated   the same vector several times
    close      vectors that hardly differ
    one-column one column of vectors that makes nearly all differences

Sees plaintext images: for the owner's and the client's device only. Pictures are judged in grey and
at most 64 pixels high and wide, about as small as models see them, so a photograph that is blurred
only at its full size passes. The bounds were chosen on half of ten public data sets such that no
owner's set is blamed, and checked on the other half (docs/how-to/check-photos.md).

Blur is measured as F. Crete et al. do (The blur effect, 2007): a picture that is blurred already
changes little when it is blurred once more.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from privedge.arrays import Pixels
from privedge.errors import ConfigError, QualityError

log = logging.getLogger(__name__)

# What to do about flaws: nothing, one warning for each, or one QualityError for all.
Care = Literal["ignore", "warn", "refuse"]

# From so many on an owner's pictures, or what a public encoder makes of them, are not few.
FEW_PICTURES, FEW_ENCODED = 10, 2
MAX_SIDE = 64

# Grey values, 0 to 255. The darkest and the brightest hundredth of the pixels do not count.
_DARK, _BRIGHT, _FLAT = 48.0, 248.0, 7.0
# Between 0 and 1. A face blurred by a Gaussian of 3 of its 64 pixels has about 0.9, and digits of
# 8 x 8 pixels made larger have up to 0.87.
_BLURRED, _WINDOW = 0.88, 5
# Root mean square difference of two pictures, in grey values at 16 x 16.
_ALIKE, _THUMB = 3.0, 16
# A large set may hold a few pictures twice: it is not blamed for less than this part.
_SPARE = 0.1
_MOST_COMPARED = 1000
# How many times farther than any other one picture lies from the mean of the others, and to which
# part of the usual cosine with that mean it falls.
_FAR, _UNLIKE = 2.2, 0.35
# The same part for the outputs of an encoder, which differ less between pictures of one person.
_UNLIKE_ENCODED = 0.3
# In a smaller set the odd one is often nothing but another pose.
_LEAST_MIXED = 8
_MOST_NAMED = 6
# Vectors whose spread is below that part of their length hardly differ; a column that has more than
# that part of the spread decides alone. Of fewer vectors or columns nothing is said.
_NEAR, _ALL, _LEAST_SPREAD = 1e-3, 0.99, 4

_Numbers = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Flaw:
    """One thing that is wrong with one owner's set, or with what is asked.

    Attributes:
        kind: one of the words in the table above, or `no_face` and the like from an aligner.
        text: what is wrong and what to do, in one line.
        files: the names of the pictures that it concerns, all of them.
    """

    kind: str
    text: str
    files: tuple[str, ...] = ()


def grey(picture: Image.Image) -> Pixels:
    """Return what is judged of a picture: uint8 (h, w), at most MAX_SIDE high and wide."""
    small = picture.convert("L")
    small.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BICUBIC)
    return np.asarray(small, dtype=np.uint8)


def greys(images: Pixels) -> list[Pixels]:
    """The same for uint8 (n, H, W) or (n, H, W, 3)."""
    return [grey(Image.fromarray(image)) for image in images]


def of_asked(pictures: Sequence[Pixels], names: Sequence[str]) -> list[Flaw]:
    """Judge each picture by itself, as somebody asks about it: dark, bright, flat, blurred.

    pictures: what `grey` returns, one for each name.
    """
    found: dict[str, list[str]] = {}
    for picture, name in zip(pictures, names, strict=True):
        if kind := _flaw_of_one(picture):
            found.setdefault(kind, []).append(name)
    return [_flaw(kind, found[kind]) for kind in _CURES if kind in found]


def of_own(
    pictures: Sequence[Pixels], names: Sequence[str], *, enough: int = FEW_PICTURES
) -> list[Flaw]:
    """Judge the pictures of one owner: all that `of_asked` finds, and few, alike and mixed.

    pictures: what `grey` returns, one for each name.
    """
    thumbs = np.stack([_thumb(picture) for picture in pictures])
    same = _near(thumbs)
    if same and len(same[0]) == len(pictures):  # then nothing else matters
        return [Flaw("alike", f"all {len(names)} pictures are the same; add others", tuple(names))]
    found = _few(len(pictures), enough, "pictures")
    if sum(len(group) - 1 for group in same) > _SPARE * len(pictures):
        found.append(_alike(same, names))
    found += of_asked(pictures, names)
    if (place := _stranger(thumbs)) is not None:
        found.append(_flaw("mixed", [names[place]]))
    return found


def shared(
    digests: Mapping[str, Sequence[str]], names: Mapping[str, Sequence[str]]
) -> dict[str, list[Flaw]]:
    """Find the pictures or vectors that several owners have, by owner.

    digests: of each owner's pictures; equal for equal ones. names: what each of them is called.
    """
    holders: dict[str, dict[str, str]] = {}
    for owner, each in digests.items():
        for digest, name in zip(each, names[owner], strict=True):
            holders.setdefault(digest, {}).setdefault(owner, f"{owner}/{name}")
    found: dict[str, list[Flaw]] = {}
    for owner, each in digests.items():
        twice = {
            name: next(there for other, there in holders[digest].items() if other != owner)
            for digest, name in zip(each, names[owner], strict=True)
            if len(holders[digest]) > 1
        }
        if twice:
            pairs = _named([f"{name} is {there}" for name, there in twice.items()])
            text = (
                f"{len(twice)} of {len(each)} are another owner's too ({pairs}); leave each to the "
                "one whose it is"
            )
            found[owner] = [Flaw("shared", text, tuple(twice))]
    return found


def of_encoded(encoded: _Numbers, names: Sequence[str]) -> list[Flaw]:
    """Judge what a public encoder made of one owner's pictures, (n, d): mixed.

    It knows persons, so it finds a picture of another person where pixels do not.
    """
    place = _least_like(encoded.astype(np.float64), below=_UNLIKE_ENCODED)
    return [] if place is None else [_flaw("mixed", [names[place]])]


def of_vectors(vectors: npt.NDArray[Any], *, enough: int = FEW_PICTURES) -> list[Flaw]:
    """Judge vectors (n, d) of one owner: few, repeated, constant."""
    found = _few(len(vectors), enough, "vectors")
    copies = len(vectors) - len(np.unique(vectors, axis=0))
    if copies:
        found.append(
            Flaw("repeated", f"{copies} of {len(vectors)} vectors are copies; leave them out")
        )
    still = np.flatnonzero((vectors == vectors[:1]).all(0))
    if (
        len(vectors) > 1 and len(still) and copies < len(vectors) - 1
    ):  # copies of one vector have constant columns only
        columns = _named([str(column) for column in still])
        said = "column never changes" if len(still) == 1 else "columns never change"
        found.append(
            Flaw("constant", f"{len(still)} {said} ({columns}); they tell nobody apart, drop them")
        )
    return found + _spread(vectors)


def _spread(vectors: npt.NDArray[Any]) -> list[Flaw]:
    """Vectors that hardly differ from each other, or of which one column makes all differences."""
    wide = vectors.astype(np.float64)
    # Divided by the largest value, no square overflows.
    largest = float(np.abs(wide).max()) or 1.0
    varied = np.square(wide / largest - (wide / largest).mean(axis=0)).mean(axis=0)
    whole = float(varied.sum())
    if whole == 0 or len(vectors) < _LEAST_SPREAD:
        return []
    if whole < _NEAR**2 * float(np.square(wide / largest).sum(axis=1).mean()):
        cure = "if those of other owners are as near, take the same public mean from all, and scale"
        return [Flaw("close", f"the vectors differ by less than a thousandth; {cure}")]
    if vectors.shape[1] >= _LEAST_SPREAD and varied.max() > _ALL * whole:
        column = int(varied.argmax())
        cure = "bring all columns to one scale by public numbers"
        return [Flaw("one-column", f"column {column} makes nearly all differences; {cure}")]
    return []


def require_known(care: object) -> None:
    """Raise ConfigError for what is no Care."""
    if care not in get_args(Care):
        raise ConfigError(f"quality: must be one of {', '.join(get_args(Care))}, not {care!r:.40}")


def heed(flaws: Iterable[Flaw], whose: str, care: Care) -> None:
    """Warn of each flaw in one line, or raise QualityError with all; `whose` is put before each."""
    lines = [f"{whose}: {flaw.text}" if whose else flaw.text for flaw in flaws]
    if care == "refuse" and lines:
        raise QualityError("; ".join(lines))
    if care == "warn":
        for line in lines:
            log.warning("%s", line)


# --- Words ----------------------------------------------------------------------------------------

_CURES = {
    "dark": ("too dark", "take them again in more light", "take it again in more light"),
    "bright": ("too bright", "take them again in less light", "take it again in less light"),
    "flat": ("without contrast", "replace them", "replace it"),
    "blurred": ("blurred", "take them again, sharp", "take it again, sharp"),
}


def _flaw(kind: str, names: Sequence[str]) -> Flaw:
    listed = _named(names)
    if kind == "mixed":
        text = f"{listed} is unlike all others; leave it out if it shows somebody or something else"
    else:
        what, them, it = _CURES[kind]
        one = len(names) == 1
        text = f"{listed} {'is' if one else 'are'} {what}; {it if one else them}"
    return Flaw(kind, text, tuple(names))


def _few(count: int, enough: int, what: str) -> list[Flaw]:
    if count >= enough:
        return []
    only = f"{count} {what if count != 1 else what[:-1]}"
    return [Flaw("few", f"only {only}; {enough} or more answer better")]


def _alike(groups: Sequence[Sequence[int]], names: Sequence[str]) -> Flaw:
    concerned = tuple(names[place] for group in groups for place in group)
    pairs = [" and ".join([names[group[0]], names[group[-1]]]) for group in groups]
    spare = len(concerned) - len(groups)
    return Flaw(
        "alike",
        f"{spare} of {len(names)} pictures are nearly the same as others ({_named(pairs)}); "
        "add different ones",
        concerned,
    )


def _named(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


# --- Measures -------------------------------------------------------------------------------------


def _flaw_of_one(picture: Pixels) -> str | None:
    """The worst flaw of one picture: one too dark has no contrast either."""
    low, high = np.percentile(picture, [1, 99])
    if high < _DARK:
        return "dark"
    if low > _BRIGHT:
        return "bright"
    if high - low < _FLAT:
        return "flat"
    return "blurred" if _blur(picture.astype(np.float64)) > _BLURRED else None


def _blur(picture: _Numbers) -> float:
    """The blur effect, 0 (sharp) to 1, of the blurrier axis.

    1 - (the variation that a box filter takes away) / (the variation there is).
    """
    worst = 0.0
    for axis in (0, 1):
        if picture.shape[axis] <= _WINDOW:
            continue
        before = np.abs(np.diff(picture, axis=axis))
        after = np.abs(np.diff(_box(picture, axis), axis=axis))
        if total := float(before.sum()):
            worst = max(worst, 1 - float(np.maximum(0, before - after).sum()) / total)
    return worst


def _box(picture: _Numbers, axis: int) -> _Numbers:
    """The mean of _WINDOW neighbours along one axis; repeats the border."""
    around = [(0, 0), (0, 0)]
    around[axis] = (_WINDOW // 2, _WINDOW // 2)
    padded = np.pad(picture, around, mode="edge")
    window: _Numbers = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW, axis).mean(-1)
    return window


def _thumb(picture: Pixels) -> _Numbers:
    small = Image.fromarray(picture).resize((_THUMB, _THUMB), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64).ravel()


def _near(thumbs: _Numbers) -> list[list[int]]:
    """Groups of two pictures or more, each nearly the same as the first of its group."""
    groups: list[list[int]] = []
    left = list(range(len(thumbs[:_MOST_COMPARED])))
    while left:
        first = left[0]
        apart = np.sqrt(((thumbs[left] - thumbs[first]) ** 2).mean(1))
        group = [place for place, each in zip(left, apart, strict=True) if each < _ALIKE]
        left = [place for place in left if place not in group]
        if len(group) > 1:
            groups.append(group)
    return groups


def _stranger(thumbs: _Numbers) -> int | None:
    """The one picture that is farther from the mean of the others than any other is, and has
    another pattern of light and dark; else None.
    """
    count = len(thumbs)
    if count < _LEAST_MIXED:
        return None
    apart = np.sqrt(((thumbs - thumbs.mean(0)) ** 2).sum(1))  # all by the same factor n / (n - 1)
    second, farthest = np.argsort(apart)[-2:]
    if apart[farthest] <= _FAR * apart[second]:
        return None
    place = _least_like(thumbs - thumbs.mean(1, keepdims=True), below=_UNLIKE)
    return place if place == farthest else None


def _least_like(points: _Numbers, *, below: float) -> int | None:
    """The one point whose cosine with the mean of the others is below that part of the median
    cosine; else None.
    """
    if len(points) < _LEAST_MIXED:
        return None
    units = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    others = units.sum(0) - units
    others /= np.maximum(np.linalg.norm(others, axis=1, keepdims=True), 1e-12)
    cosines = (units * others).sum(1)
    usual = float(np.median(cosines))
    lower = np.flatnonzero(cosines < below * usual)
    return int(lower[0]) if usual > 0 and len(lower) == 1 else None
