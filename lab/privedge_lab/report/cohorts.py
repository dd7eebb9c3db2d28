"""Results of `evaluate identify` by what was asked: the same images, owners and split.

Only figures of the same images are set against each other, and only on seeds that both were
measured with: a pooled network that was trained for one seed is compared on that one.
"""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from privedge_lab.pages.wording import bare, percent, plural
from privedge_lab.report.reader import File, Found, Source
from privedge_lab.results.rows.identify import IdentifyRow, Rate, Strangers
from privedge_lab.results.rows.scores import Scores
from privedge_lab.results.rows.settings import Settings

BASELINES = {
    "pca": "own components of pixels",
    "knn": "nearest neighbour, pooled",
    "cnn": "network on pooled images",
}
# Colour and marker of each, the same in all charts; the private models have 0.
KINDS = {kind: number for number, kind in enumerate(BASELINES, start=1)}


@dataclass
class Method:
    """One way of answering on one cohort: its macro recall by seed, and the rows it is from, which
    may be in several files. `whole`: it was asked all images of the part, not just the first.
    """

    name: str
    kind: str
    whole: bool
    recalls: dict[int, float] = field(default_factory=dict)
    given: list[tuple[File[IdentifyRow], IdentifyRow]] = field(default_factory=list)

    def add(self, file: File[IdentifyRow], row: IdentifyRow, seed: int, recall: float) -> None:
        """The first row of a seed counts: a second one would count it twice."""
        if seed not in self.recalls:
            self.recalls[seed] = recall
            self.given.append((file, row))

    @property
    def rows(self) -> list[IdentifyRow]:
        """One a seed."""
        return [row for _, row in self.given]

    @property
    def file(self) -> File[IdentifyRow]:
        """The first file."""
        return self.given[0][0]

    def used(self, rows: Sequence[IdentifyRow]) -> list[tuple[Source, list[IdentifyRow]]]:
        """Those of its files that hold any of `rows`, each with them."""
        found: dict[str, tuple[Source, list[IdentifyRow]]] = {}
        for file, row in self.given:
            if any(row is each for each in rows):
                found.setdefault(file.shown, (file.source, []))[1].append(row)
        return list(found.values())

    @property
    def mean(self) -> float:
        return statistics.fmean(self.recalls.values())


@dataclass
class Cohort:
    """Owners and images, and everything that was tried on them."""

    label: str
    owners: int
    methods: dict[str, Method] = field(default_factory=dict)

    def private(self) -> Method | None:
        """The private method of highest recall; one that was asked all images, if there is one."""
        mine = [method for method in self.methods.values() if method.kind == "private"]
        return max(mine, key=lambda method: (method.whole, method.mean), default=None)

    def baseline(self, kind: str) -> Method | None:
        """The baseline of this name."""
        return self.methods.get(kind)

    @property
    def presets(self) -> int:
        """How many private methods there are to choose from."""
        return sum(method.kind == "private" and method.whole for method in self.methods.values())


def told_apart(cohort: Cohort) -> tuple[Method, list[Strangers]] | None:
    """The private method of highest recall that was asked about strangers, and what came out."""
    asked = [
        (method, found)
        for method in cohort.methods.values()
        if method.kind == "private" and (found := [row.strangers for row in method.rows])
    ]
    whole = [(method, [each for each in found if each]) for method, found in asked if any(found)]
    return max(whole, key=lambda each: (each[0].whole, each[0].mean), default=None)


def of_strangers(cohort: Cohort) -> Iterator[str]:
    """TAR at FAR 1 %, and what a margin does, each with its interval, where they are known."""
    told = told_apart(cohort)
    if told is None:
        return
    method, found = told
    about = f"{with_owners(cohort)}, {method.name}"
    if rate := mean_rate(each.tar_at_far_01 for each in found):
        count = plural(round(mean(each.strangers for each in found)), "image")
        yield f"{about}: TAR {in_words(rate)} at FAR {percent(0.01, 0)}, {count} of strangers"
    rates = {
        "TAR": mean_rate(each.tar_at_margin for each in found),
        "FAR": mean_rate(each.far_at_margin for each in found),
    }
    if far := rates["FAR"]:
        shown = ", ".join(f"{name} {in_words(rate)}" for name, rate in rates.items() if rate)
        yield f"{about}: {shown} at the margin {far.margin or 0.0:.2f}"


def mean_rate(rates: Iterable[Rate | None]) -> Rate | None:
    """The mean of each figure over seeds; None if a seed has no such rate."""
    given = list(rates)
    shares = [each for each in given if each is not None and each.share is not None]
    if not shares or len(shares) < len(given):
        return None
    parts = ("share", "low", "high", "margin")
    return Rate(**{part: mean(getattr(each, part) for each in shares) for part in parts})


def mean(values: Iterable[float | None]) -> float:
    """The mean of those that are known; 0 for none."""
    given = [value for value in values if value is not None]
    return statistics.fmean(given) if given else 0.0


def in_words(rate: Rate) -> str:
    """A share with its 95 % interval."""
    low, high = percent(rate.low, 2), percent(rate.high, 2)
    return f"{percent(rate.share, 2)} ({low} to {high})"


def gap(private: Method, other: Method) -> tuple[float, float, list[int]] | None:
    """Mean recalls of both on the seeds they share, and these; None without any, or if the private
    one was asked other images.
    """
    both = sorted(private.recalls.keys() & other.recalls.keys())
    if not both or not private.whole:
        return None
    means = [statistics.fmean(each.recalls[seed] for seed in both) for each in (private, other)]
    return means[0], means[1], both


def cohorts(found: Found) -> list[Cohort]:
    """Of all files, in the order found."""
    known: dict[str, Cohort] = {}
    for file in found.of(IdentifyRow):
        owners = max((row.owners or 0 for row in file.rows), default=0)
        key = repr([_asked(file.about), owners])
        cohort = known.setdefault(key, Cohort(label(file.about), int(owners)))
        _add(cohort, file)
    return [cohort for cohort in known.values() if cohort.methods]


def label(about: Settings) -> str:
    """The data set's name, and how it was dealt out if not in the usual way."""
    name = PurePath(about.data or "unnamed data").stem
    ways = [
        f"by {about.group}" if about.group else "",
        f"asked {about.where[0]} {about.where[1]}" if len(about.where) == 2 else "",
        "VALIDATION images" if about.part == "validation" else "",
    ]
    told = ", ".join(way for way in ways if way)
    return f"{name}, {told}" if told else name


def with_owners(cohort: Cohort) -> str:
    """The label, and how many owners there are."""
    return f"{cohort.label} ({plural(cohort.owners, 'owner')})"


def _asked(about: Settings) -> list[object]:
    return [about.data_sha256 or about.data, about.part, about.group, about.where]


def _add(cohort: Cohort, file: File[IdentifyRow]) -> None:
    for row in file.rows:
        if row.seed is None or row.macro_recall is None:
            continue
        whole = file.about.engine != "fused" or not _limited(file.about, row)
        name = _name(file.about, row, whole)
        method = cohort.methods.setdefault(name, Method(name, "private", whole))
        method.add(file, row, row.seed, row.macro_recall)
        _add_baselines(cohort, file, row, row.seed)


def _limited(about: Settings, row: IdentifyRow) -> bool:
    """Was only the beginning of the part asked? The file does not say how long the part is."""
    return row.asked == about.queries


def _name(about: Settings, row: IdentifyRow, whole: bool) -> str:
    parts = [row.preset or "unnamed preset"]
    if about.components is not None:
        parts.append(plural(about.components, "component"))
    if about.steps is not None:
        parts.append(plural(about.steps, "step"))
    if not whole:
        parts.append(f"really deployed, {bare(row.asked)} asked")
    return ", ".join(parts)


def _add_baselines(cohort: Cohort, file: File[IdentifyRow], row: IdentifyRow, seed: int) -> None:
    for kind, scores in row.baselines.items():
        if kind in BASELINES and scores.macro_recall is not None:
            method = cohort.methods.setdefault(kind, Method(BASELINES[kind], kind, True))
            method.add(file, row, seed, scores.macro_recall)


def scores(method: Method) -> Sequence[IdentifyRow | Scores]:
    """What has the figures of each row of the method: the row, or a baseline in it."""
    if method.kind == "private":
        return method.rows
    return [row.baselines[method.kind] for row in method.rows]
