"""Results of `evaluate identify` by what was asked: the same images, owners and split.

Only figures of the same images are set against each other, and only on seeds that both were
measured with: a pooled network that was trained for one seed is compared on that one.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from privedge_lab.report.reader import Found, Source
from privedge_lab.report.values import Row, number, plural, seed_of, text

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
    given: list[tuple[Source, Row]] = field(default_factory=list)

    def add(self, source: Source, row: Row, seed: int, recall: float) -> None:
        """The first row of a seed counts: a second one would count it twice."""
        if seed not in self.recalls:
            self.recalls[seed] = recall
            self.given.append((source, row))

    @property
    def rows(self) -> list[Row]:
        """One a seed."""
        return [row for _, row in self.given]

    @property
    def source(self) -> Source:
        """The first file."""
        return self.given[0][0]

    def used(self, rows: Sequence[Row]) -> list[tuple[Source, list[Row]]]:
        """Those of its files that hold any of `rows`, each with them."""
        found: dict[str, tuple[Source, list[Row]]] = {}
        for source, row in self.given:
            if any(row is each for each in rows):
                found.setdefault(source.shown, (source, []))[1].append(row)
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
    for source in found.of("identify"):
        owners = max((number(row, "owners") or 0 for row in source.rows), default=0)
        key = repr([_asked(source), owners])
        cohort = known.setdefault(key, Cohort(label(source.settings), int(owners)))
        _add(cohort, source)
    return [cohort for cohort in known.values() if cohort.methods]


def label(settings: Row) -> str:
    """The data set's name, and how it was dealt out if not in the usual way."""
    name = PurePath(text(settings, "data", "unnamed data")).stem
    where = settings.get("where")
    ways = [
        f"by {text(settings, 'group')}" if settings.get("group") else "",
        f"asked {where[0]} {where[1]}" if isinstance(where, list) and len(where) == 2 else "",
        "VALIDATION images" if settings.get("part") == "validation" else "",
    ]
    told = ", ".join(way for way in ways if way)
    return f"{name}, {told}" if told else name


def with_owners(cohort: Cohort) -> str:
    """The label, and how many owners there are."""
    return f"{cohort.label} ({plural(cohort.owners, 'owner')})"


def _asked(source: Source) -> list[object]:
    settings = source.settings
    data = settings.get("data_sha256") or settings.get("data")
    return [data, *(settings.get(name) for name in ("part", "group", "where"))]


def _add(cohort: Cohort, source: Source) -> None:
    engine = text(source.settings, "engine", "plain")
    for row in source.rows:
        seed, recall = seed_of(row), number(row, "macro_recall")
        if seed is None or recall is None:
            continue
        whole = engine != "fused" or not _limited(source, row)
        name = _name(source, row, whole)
        method = cohort.methods.setdefault(name, Method(name, "private", whole))
        method.add(source, row, seed, recall)
        _add_baselines(cohort, source, row, seed)


def _limited(source: Source, row: Row) -> bool:
    """Was only the beginning of the part asked? The file does not say how long the part is."""
    return number(row, "asked") == number(source.settings, "queries")


def _name(source: Source, row: Row, whole: bool) -> str:
    preset, settings = text(row, "preset", "unnamed preset"), source.settings
    parts = [preset]
    if settings.get("components") is not None:
        parts.append(plural(number(settings, "components") or 0, "component"))
    if settings.get("steps") is not None:
        parts.append(plural(number(settings, "steps") or 0, "step"))
    if not whole:
        parts.append(f"really deployed, {text(row, 'asked')} asked")
    return ", ".join(parts)


def _add_baselines(cohort: Cohort, source: Source, row: Row, seed: int) -> None:
    found = row.get("baselines")
    for kind in found if isinstance(found, dict) else ():
        recall = number(row, "baselines", kind, "macro_recall")
        if kind not in BASELINES or recall is None:
            continue
        method = cohort.methods.setdefault(kind, Method(BASELINES[kind], kind, True))
        method.add(source, row, seed, recall)


def figure(method: Method, name: str) -> Sequence[float | None]:
    """A figure of each row of the method; of baselines, those in `baselines`."""
    if method.kind == "private":
        return [number(row, name) for row in method.rows]
    return [number(row, "baselines", method.kind, name) for row in method.rows]
