"""Worse images and less training: results of `evaluate robustness` and `evaluate bias`."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from privedge_lab.pages.charts import Chart, Point, Series, point, series
from privedge_lab.pages.wording import bare, in_order, percents, spread
from privedge_lab.report.blocks import (
    Block,
    Heading,
    Missing,
    Paragraph,
    Section,
    Table,
    curve,
    evidence,
)
from privedge_lab.report.cohorts import BASELINES, KINDS, label
from privedge_lab.report.reader import File, Found
from privedge_lab.results.rows.bias import BiasRow
from privedge_lab.results.rows.robustness import RobustnessRow
from privedge_lab.results.rows.values import Figure

ROBUSTNESS = "privedge evaluate robustness --data FILE.npz --seed 0,1,2 --out DIR"
BIAS = "privedge evaluate bias --data FILE.npz --seed 0,1,2 --out DIR"
_NONE, _IMAGES = "none", "images"
# What a level is of; a name that is not here stands for itself.
_LEVELS = {
    "jpeg": "JPEG quality (lower is worse)",
    "blur": "blur, standard deviation in pixels",
    "noise": "noise, standard deviation (255 is white)",
    "brightness": "brightness, factor on every pixel",
}
_FIELDS = ("macro_recall", "accuracy", "auroc_known", "baselines")
_LEVEL_FIELDS = ("seed", "disturbance", "level", *_FIELDS)
_BIAS_FIELDS = (
    *("seed", "bias", "value", "trained_on", "owners", "asked", *_FIELDS, "same", "mixed"),
)
# Rows that both kinds of chart are made of.
R = TypeVar("R", RobustnessRow, BiasRow)


def section(found: Found) -> Section:
    """Curves by disturbance and level, and by what was trained on."""
    blocks: list[Block] = []
    robust, biased = found.of(RobustnessRow), found.of(BiasRow)
    if robust:
        blocks.append(
            Paragraph("Models are trained on clean images, and asked about disturbed ones.")
        )
    else:
        blocks.append(Missing("Robustness to disturbed images", ROBUSTNESS))
    for file in robust:
        blocks += _robustness(file)
    if not biased:
        blocks.append(Missing("Biased training", BIAS))
    for each in biased:
        blocks += _bias(each)
    return Section("conditions", "Worse images, and less to train on", "Robustness", tuple(blocks))


def worst(rows: Sequence[RobustnessRow]) -> tuple[float | None, list[tuple[str, float]]]:
    """Macro recall of the private models undisturbed, and of each disturbance the level at which
    it is least, with that. Means over seeds.
    """
    groups: dict[tuple[str, str], list[Figure]] = {}
    for row in rows:
        groups.setdefault((_disturbance(row), bare(row.level)), []).append(row.macro_recall)
    found_by = {key: spread(values) for key, values in groups.items()}
    recalls = {key: found for key, found in found_by.items() if found is not None}
    clean = [found.mean for (kind, _), found in recalls.items() if kind == _NONE]
    least = []
    for kind in in_order(name for name, _ in recalls if name != _NONE):
        levels = [(found.mean, level) for (name, level), found in recalls.items() if name == kind]
        recall, level = min(levels)
        least.append((f"{kind} {level}".strip(), recall))
    return (clean[0] if clean else None), least


def _disturbance(row: RobustnessRow) -> str:
    return row.disturbance or _NONE


def _robustness(file: File[RobustnessRow]) -> list[Block]:
    clean = [row for row in file.rows if _disturbance(row) == _NONE]
    untouched = spread(row.macro_recall for row in clean)
    levels = {} if untouched is None else {"undisturbed": untouched.mean}
    blocks: list[Block] = [Heading(f"Disturbed images: {label(file.about)}")]
    for kind in in_order(map(_disturbance, file.rows)):
        rows = [row for row in file.rows if _disturbance(row) == kind]
        if kind == _NONE:
            continue
        chart = Chart(
            _LEVELS.get(kind, f"{kind}, level"), "macro recall", _by(rows, lambda row: row.level),
            "share", levels=levels,
        )  # fmt: skip
        given = evidence([(file.source, [*clean, *rows])], _LEVEL_FIELDS)
        blocks.append(
            curve(
                f"{kind.capitalize()}: {label(file.about)}",
                "Macro recall by strength of the disturbance. Means over seeds; bars from the "
                "least to the greatest.",
                chart,
                given,
            )
        )
    return [*blocks, _levels_table(file)]


def _by(rows: Sequence[R], place: Callable[[R], Figure]) -> tuple[Series, ...]:
    """A line of the private models and one of each baseline, over the places of the rows."""
    places = _places(rows, place)
    private = [_at(rows, place, x, _recall) for x in places]
    lines = [series("private models", private, kind=0)]
    for kind, named in _baselines(rows).items():
        found = [_at(rows, place, x, partial(_of_baseline, kind)) for x in places]
        lines.append(series(named, found, kind=KINDS.get(kind, len(KINDS) + 1)))
    return tuple(line for line in lines if line.points)


def _places(rows: Sequence[R], place: Callable[[R], Figure]) -> list[float]:
    return sorted({x for row in rows if (x := place(row)) is not None})


def _at(
    rows: Sequence[R], place: Callable[[R], Figure], x: float, recall: Callable[[R], Figure]
) -> Point | None:
    return point(x, spread(recall(row) for row in rows if place(row) == x))


def _recall(row: RobustnessRow | BiasRow) -> Figure:
    return row.macro_recall


def _of_baseline(kind: str, row: RobustnessRow | BiasRow) -> Figure:
    return row.baselines[kind].macro_recall if kind in row.baselines else None


def _baselines(rows: Sequence[RobustnessRow] | Sequence[BiasRow]) -> dict[str, str]:
    kinds = in_order(kind for row in rows for kind in row.baselines)
    return {kind: BASELINES.get(kind, kind) for kind in kinds}


def _levels_table(file: File[RobustnessRow]) -> Table:
    kinds = _baselines(file.rows)
    lines = []
    for disturbance, level in dict.fromkeys((_disturbance(row), row.level) for row in file.rows):
        rows = [row for row in file.rows if (_disturbance(row), row.level) == (disturbance, level)]
        bare_name = level is None or disturbance == _NONE
        lines.append(
            (
                disturbance if bare_name else f"{disturbance} {level:g}",
                percents(spread(row.macro_recall for row in rows)),
                percents(spread(row.accuracy for row in rows)),
                *_recalls(rows, kinds),
            )
        )
    return Table(
        f"Disturbed images of {label(file.about)}: macro recall, and accuracy of the private "
        "models. Means over seeds.",
        ("disturbance", "private models", "accuracy", *kinds.values()),
        tuple(lines),
        evidence([(file.source, file.rows)], _LEVEL_FIELDS),
        folded="All disturbances and levels as a table",
    )


def _recalls(rows: Sequence[RobustnessRow] | Sequence[BiasRow], kinds: Iterable[str]) -> list[str]:
    """The macro recall of each baseline, as text."""
    return [percents(spread(_of_baseline(kind, row) for row in rows)) for kind in kinds]


def _bias(file: File[BiasRow]) -> list[Block]:
    blocks: list[Block] = [Heading(f"Less or biased training: {label(file.about)}")]
    for kind in in_order(row.bias or "unnamed" for row in file.rows):
        rows = [row for row in file.rows if (row.bias or "unnamed") == kind]
        blocks.append(_bias_curve(file, kind, rows))
        blocks.append(_bias_table(file, kind, rows))
    return blocks


def _bias_curve(file: File[BiasRow], kind: str, rows: Sequence[BiasRow]) -> Block:
    numbers = {name: at for at, name in enumerate(_sorted(in_order(map(_value, rows))))}

    def place(row: BiasRow) -> Figure:
        return numbers[_value(row)]

    lines = (*_by(rows, place), *_others(rows, place))
    few = kind == _IMAGES
    what = "images an owner trains on" if few else f"{kind} trained on"
    asked = "the images asked are the same" if few else f"asked are images of every other {kind}"
    return curve(
        f"{'Fewer images' if few else f'One {kind} only'}: {label(file.about)}",
        f"Macro recall by what owners train on; {asked}. Means over seeds; bars from the least to "
        "the greatest.",
        Chart(what, "macro recall", lines, "share", tuple(numbers), lines=few),
        evidence([(file.source, rows)], _BIAS_FIELDS),
    )


def _others(rows: Sequence[BiasRow], place: Callable[[BiasRow], Figure]) -> list[Series]:
    """The private models asked what they trained on, and trained on as many images of all kinds."""
    asked = (("asked the same value", _same), ("trained on as many of all values", _mixed))
    lines = []
    for number_of, (named, recall) in enumerate(asked, start=len(KINDS) + 1):
        found = [_at(rows, place, x, recall) for x in _places(rows, place)]
        lines.append(series(named, found, kind=number_of))
    return [line for line in lines if line.points]


def _same(row: BiasRow) -> Figure:
    return None if row.same is None else row.same.macro_recall


def _mixed(row: BiasRow) -> Figure:
    return None if row.mixed is None else row.mixed.macro_recall


def _value(row: BiasRow) -> str:
    if row.value is None:
        return "all"
    return row.value if isinstance(row.value, str) else bare(row.value)


def _sorted(names: list[str]) -> list[str]:
    """By number where they are numbers; `all` comes last."""

    def key(name: str) -> tuple[int, float, str]:
        try:
            return (0, float(name), "")
        except ValueError:
            return (2 if name == "all" else 1, 0.0, name)

    return sorted(names, key=key)


def _bias_table(file: File[BiasRow], kind: str, rows: Sequence[BiasRow]) -> Table:
    kinds = _baselines(rows)
    few = kind == _IMAGES
    more = () if few else ("asked the same value", "trained on as many of all")
    lines = []
    for value in _sorted(in_order(map(_value, rows))):
        mine = [row for row in rows if _value(row) == value]
        trained = spread(row.trained_on for row in mine)
        others = (
            () if few else (percents(spread(map(_same, mine))), percents(spread(map(_mixed, mine))))
        )
        lines.append(
            (
                value,
                "not stored" if trained is None else f"{trained.mean:.0f}",
                percents(spread(map(_recall, mine))),
                *others,
                *_recalls(mine, kinds),
            )
        )
    return Table(
        f"Macro recall by {kind} trained on, {label(file.about)}. Means over seeds.",
        (kind, "trained on, in all", "private models", *more, *kinds.values()),
        tuple(lines),
        evidence([(file.source, rows)], _BIAS_FIELDS),
        folded="The same as a table",
    )
