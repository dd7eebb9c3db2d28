"""Worse images and less training: results of `evaluate robustness` and `evaluate bias`."""

from collections.abc import Sequence

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
from privedge_lab.report.charts import Chart, Point, Series, point, series
from privedge_lab.report.cohorts import BASELINES, KINDS, label
from privedge_lab.report.reader import Found, Source
from privedge_lab.report.values import Row, in_order, number, percents, spread, text

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
_BIAS_FIELDS = (
    *("seed", "bias", "value", "trained_on", "owners", "asked", *_FIELDS, "same", "mixed"),
)


def section(found: Found) -> Section:
    """Curves by disturbance and level, and by what was trained on."""
    blocks: list[Block] = []
    robust, biased = found.of("robustness"), found.of("bias")
    if robust:
        blocks.append(
            Paragraph("Models are trained on clean images, and asked about disturbed ones.")
        )
    else:
        blocks.append(Missing("Robustness to disturbed images", ROBUSTNESS))
    for source in robust:
        blocks += _robustness(source)
    if not biased:
        blocks.append(Missing("Biased training", BIAS))
    for source in biased:
        blocks += _bias(source)
    return Section("conditions", "Worse images, and less to train on", "Robustness", tuple(blocks))


def worst(source: Source) -> tuple[float | None, list[tuple[str, float]]]:
    """Macro recall of the private models undisturbed, and of each disturbance the level at which
    it is least, with that. Means over seeds.
    """
    groups: dict[tuple[str, str], list[float | None]] = {}
    for row in source.rows:
        key = (text(row, "disturbance", _NONE), text(row, "level"))
        groups.setdefault(key, []).append(number(row, "macro_recall"))
    found_by = {key: spread(values) for key, values in groups.items()}
    recalls = {key: found for key, found in found_by.items() if found is not None}
    clean = [found.mean for (kind, _), found in recalls.items() if kind == _NONE]
    least = []
    for kind in in_order(name for name, _ in recalls if name != _NONE):
        levels = [(found.mean, level) for (name, level), found in recalls.items() if name == kind]
        recall, level = min(levels)
        least.append((f"{kind} {level}", recall))
    return (clean[0] if clean else None), least


def _robustness(source: Source) -> list[Block]:
    kinds = in_order(text(row, "disturbance", _NONE) for row in source.rows)
    clean = [row for row in source.rows if text(row, "disturbance", _NONE) == _NONE]
    untouched = spread(number(row, "macro_recall") for row in clean)
    levels = {} if untouched is None else {"undisturbed": untouched.mean}
    blocks: list[Block] = [Heading(f"Disturbed images: {label(source.settings)}")]
    for kind in kinds:
        rows = [row for row in source.rows if text(row, "disturbance", _NONE) == kind]
        if kind == _NONE:
            continue
        chart = Chart(
            _LEVELS.get(kind, f"{kind}, level"), "macro recall", _by(rows, "level"), "share",
            levels=levels,
        )  # fmt: skip
        blocks.append(
            curve(
                f"{kind.capitalize()}: {label(source.settings)}",
                "Macro recall by strength of the disturbance. Means over seeds; bars from the "
                "least to the greatest.",
                chart,
                evidence([(source, [*clean, *rows])], ("seed", "disturbance", "level", *_FIELDS)),
            )
        )
    return [*blocks, _levels_table(source)]


def _by(rows: Sequence[Row], name: str) -> tuple[Series, ...]:
    """A line of the private models and one of each baseline, over the values of `name`."""
    lines = [series("private models", [_at(rows, name, x) for x in _places(rows, name)], kind=0)]
    for kind, named in _baselines(rows).items():
        found = [_at(rows, name, x, ("baselines", kind)) for x in _places(rows, name)]
        lines.append(series(named, found, kind=KINDS.get(kind, len(KINDS) + 1)))
    return tuple(line for line in lines if line.points)


def _places(rows: Sequence[Row], name: str) -> list[float]:
    return sorted({x for row in rows if (x := number(row, name)) is not None})


def _at(rows: Sequence[Row], name: str, x: float, inside: tuple[str, ...] = ()) -> Point | None:
    mine = [row for row in rows if number(row, name) == x]
    return point(x, spread(number(row, *inside, "macro_recall") for row in mine))


def _baselines(rows: Sequence[Row]) -> dict[str, str]:
    kinds = in_order(
        kind for row in rows if isinstance(row.get("baselines"), dict) for kind in row["baselines"]
    )
    return {kind: BASELINES.get(kind, kind) for kind in kinds}


def _levels_table(source: Source) -> Table:
    kinds = _baselines(source.rows)
    keys = dict.fromkeys(
        (text(row, "disturbance", _NONE), number(row, "level")) for row in source.rows
    )
    lines = []
    for disturbance, level in keys:
        rows = [
            row
            for row in source.rows
            if (text(row, "disturbance", _NONE), number(row, "level")) == (disturbance, level)
        ]
        lines.append(
            (
                disturbance
                if level is None or disturbance == _NONE
                else f"{disturbance} {level:g}",
                percents(spread(number(row, "macro_recall") for row in rows)),
                percents(spread(number(row, "accuracy") for row in rows)),
                *_of_baselines(rows, kinds),
            )
        )
    return Table(
        f"Disturbed images of {label(source.settings)}: macro recall, and accuracy of the private "
        "models. Means over seeds.",
        ("disturbance", "private models", "accuracy", *kinds.values()),
        tuple(lines),
        evidence([(source, source.rows)], ("seed", "disturbance", "level", *_FIELDS)),
        folded="All disturbances and levels as a table",
    )


def _of_baselines(rows: Sequence[Row], kinds: dict[str, str]) -> list[str]:
    return [
        percents(spread(number(row, "baselines", kind, "macro_recall") for row in rows))
        for kind in kinds
    ]


def _bias(source: Source) -> list[Block]:
    blocks: list[Block] = [Heading(f"Less or biased training: {label(source.settings)}")]
    for kind in in_order(text(row, "bias", "unnamed") for row in source.rows):
        rows = [row for row in source.rows if text(row, "bias", "unnamed") == kind]
        blocks.append(_bias_curve(source, kind, rows))
        blocks.append(_bias_table(source, kind, rows))
    return blocks


def _bias_curve(source: Source, kind: str, rows: Sequence[Row]) -> Block:
    numbers = {name: at for at, name in enumerate(_sorted(in_order(map(_value, rows))))}
    placed = [row | {"place": numbers[_value(row)]} for row in rows]
    lines = (*_by(placed, "place"), *_others(placed))
    few = kind == _IMAGES
    what = "images an owner trains on" if few else f"{kind} trained on"
    asked = "the images asked are the same" if few else f"asked are images of every other {kind}"
    return curve(
        f"{'Fewer images' if few else f'One {kind} only'}: {label(source.settings)}",
        f"Macro recall by what owners train on; {asked}. Means over seeds; bars from the least to "
        "the greatest.",
        Chart(what, "macro recall", lines, "share", tuple(numbers), lines=few),
        evidence([(source, rows)], _BIAS_FIELDS),
    )


def _others(placed: Sequence[Row]) -> list[Series]:
    """The private models asked what they trained on, and trained on as many images of all kinds."""
    asked = (
        ("asked the same value", ("same",)),
        ("trained on as many of all values", ("mixed",)),
    )
    lines = []
    for number_of, (named, inside) in enumerate(asked, start=len(KINDS) + 1):
        found = [_at(placed, "place", x, inside) for x in _places(placed, "place")]
        lines.append(series(named, found, kind=number_of))
    return [line for line in lines if line.points]


def _value(row: Row) -> str:
    return "all" if row.get("value") is None else text(row, "value", "unnamed")


def _sorted(names: list[str]) -> list[str]:
    """By number where they are numbers; `all` comes last."""

    def key(name: str) -> tuple[int, float, str]:
        try:
            return (0, float(name), "")
        except ValueError:
            return (2 if name == "all" else 1, 0.0, name)

    return sorted(names, key=key)


def _bias_table(source: Source, kind: str, rows: Sequence[Row]) -> Table:
    kinds = _baselines(rows)
    few = kind == _IMAGES
    more = () if few else ("asked the same value", "trained on as many of all")
    lines = []
    for value in _sorted(in_order(map(_value, rows))):
        mine = [row for row in rows if _value(row) == value]
        trained = spread(number(row, "trained_on") for row in mine)
        others = () if few else (_recalled(mine, "same"), _recalled(mine, "mixed"))
        lines.append(
            (
                value,
                "not stored" if trained is None else f"{trained.mean:.0f}",
                _recalled(mine),
                *others,
                *_of_baselines(mine, kinds),
            )
        )
    return Table(
        f"Macro recall by {kind} trained on, {label(source.settings)}. Means over seeds.",
        (kind, "trained on, in all", "private models", *more, *kinds.values()),
        tuple(lines),
        evidence([(source, rows)], _BIAS_FIELDS),
        folded="The same as a table",
    )


def _recalled(rows: Sequence[Row], *inside: str) -> str:
    return percents(spread(number(row, *inside, "macro_recall") for row in rows))
