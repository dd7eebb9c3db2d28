"""How figures grow with the number of owners: least squares through the rows of `scale`.

    accuracy, macro recall      a + b ln N
    seconds and bytes           a + b N
    rounds                      a + b ceil(log16 N), exact below 2,000 owners (mpc/schedule.py)

A fit is computed by whoever reads the rows, and is not stored with them.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from parties.mpc.schedule import GROUP
from privedge_lab.results.rows.scale import PrivateCost, ScaleRow
from privedge_lab.results.rows.values import Figure, Raw

_LEAST = 2
_TEN = 10
# With so many points a line says whether it fits; through fewer there is always one.
_LEAST_FOR_R2 = 3

RATES = ("accuracy", "macro_recall")
COSTS = (
    "online_s",
    "seconds_per_query",
    "offline_cpu_s",
    "cpu_s",
    "bytes_per_query",
    "dealt_bytes",
)
# A row or its private cost, with the number of owners.
_Given = tuple[float, ScaleRow | PrivateCost]


def levels(owners: int) -> int:
    """Levels of the private comparison: a group of up to 16 owners sends up its best."""
    found = 0
    while owners > 1:
        owners = -(-owners // GROUP)
        found += 1
    return found


def line(xs: Sequence[float], ys: Sequence[float]) -> Raw | None:
    """Least squares y = intercept + slope x; `r_squared` is None for two points, or equal ys.

    None unless there are two different xs.
    """
    if len(set(xs)) < _LEAST:
        return None
    x, y = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
    centred = x - x.mean()
    slope = float(centred @ (y - y.mean()) / (centred @ centred))
    intercept = float(y.mean() - slope * x.mean())
    left = y - intercept - slope * x
    around = float((y - y.mean()) @ (y - y.mean()))
    tells = len(set(xs)) >= _LEAST_FOR_R2 and around > 0
    r_squared = 1 - float(left @ left) / around if tells else None
    return {"intercept": intercept, "slope": slope, "r_squared": r_squared, "points": len(xs)}


def fitted(rows: Sequence[ScaleRow]) -> Raw:
    """Fits by figure, each with what it is `against`, and `sentences` that say them plainly.

    rows: of `scale`, of one preset and any seeds. A figure measured at one size only is left out.
    """
    known = [(row.owners, row) for row in rows if row.owners is not None]
    costs = [(owners, row.private) for owners, row in known if row.private is not None]
    fits = _fits(known, RATES, "ln owners", math.log)
    fits |= _fits(costs, COSTS, "owners", float)
    fits |= _fits(costs, ("rounds",), "levels", lambda owners: float(levels(int(owners))))
    return {**fits, "sentences": _sentences(fits)}


def _fits(
    given: Sequence[_Given], names: Sequence[str], against: str, x_of: Callable[[float], float]
) -> Raw:
    fits: Raw = {}
    for name in names:
        pairs = [(x_of(owners), _figure(each, name)) for owners, each in given]
        points = [(x, y) for x, y in pairs if y is not None]
        found = line([x for x, _ in points], [y for _, y in points])
        if found is not None:
            fits[name] = {"against": against, **found}
    return fits


def _figure(given: ScaleRow | PrivateCost, name: str) -> Figure:
    figure: Figure = getattr(given, name)
    return figure


def _sentences(fits: Raw) -> list[str]:
    said = []
    if "accuracy" in fits:
        doubling = fits["accuracy"]["slope"] * math.log(2)
        said.append(
            f"Each doubling of the owners changes accuracy by {100 * doubling:+.1f} points"
            f"{_fit_of(fits['accuracy'])}."
        )
    if "online_s" in fits and "bytes_per_query" in fits:
        seconds, sent = fits["online_s"], fits["bytes_per_query"]
        said.append(
            f"A private query takes {1e3 * seconds['intercept']:.1f} ms and "
            f"{sent['intercept'] / 1e3:.1f} kB whatever the owners, and each further {_TEN} add "
            f"{1e3 * _TEN * seconds['slope']:.2f} ms{_fit_of(seconds)} and "
            f"{_TEN * sent['slope'] / 1e3:.2f} kB{_fit_of(sent)}."
        )
    if "rounds" in fits:
        rounds = fits["rounds"]
        said.append(
            f"Rounds do not grow with each owner: {rounds['slope']:.0f} more whenever the owners "
            f"pass a power of {GROUP}, and {rounds['intercept']:.0f} besides."
        )
    return said


def _fit_of(fit: Raw) -> str:
    return "" if fit["r_squared"] is None else f" (R² {fit['r_squared']:.3f})"
