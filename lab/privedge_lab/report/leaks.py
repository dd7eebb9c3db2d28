"""What adversaries got of split inference, from every experiment that attacked it.

inversion    `attack table` and `split sweep`: how like the originals the reconstructions are
attribute    `attack attributes`, `attack partitioning`, `split sweep --private`

Of several attacks on one choice the strongest counts. Sees rows of figures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from privedge_lab.report.reader import Found, Source
from privedge_lab.report.values import Row, Spread, number, spread, text

NONE = "none"
_GUESS = "mean-image"


@dataclass(frozen=True)
class Choice:
    """A network cut at a layer, with one defence at one strength."""

    data: str
    network: str
    cut: str
    defence: str
    strength: float
    how: str = ""

    @property
    def named(self) -> str:
        """The defence with its strength."""
        return "no defence" if self.defence == NONE else f"{self.defence} {self.strength:g}"

    @property
    def place(self) -> str:
        """Where it was measured."""
        return f"{self.data}, {self.network} cut after {self.cut}{self.how}"


@dataclass(frozen=True)
class Inverted:
    """The strongest attack's PSNR (dB) and SSIM, and those of the mean image: a guess."""

    source: Source
    choice: Choice
    attack: str
    psnr: float
    ssim: float
    accuracy: float | None
    guess_psnr: float | None
    guess_ssim: float | None
    rows: tuple[Row, ...] = field(repr=False)


@dataclass(frozen=True)
class Inferred:
    """Shares over seeds: the attacker's accuracy, the majority's, and the attacker's who has only
    what the server computes anyway (None if not measured).
    """

    source: Source
    choice: Choice
    private: str
    attacker: Spread
    majority: float
    floor: Spread | None
    task: Spread | None
    rows: tuple[Row, ...] = field(repr=False)


def inverted(found: Found) -> list[Inverted]:
    """One for each choice, in the order measured."""
    cases = []
    for source in found.of("attack table", "sweep"):
        for choice, rows in _by_choice(source).items():
            case = _inverted(source, choice, rows)
            if case is not None:
                cases.append(case)
    return cases


def inferred(found: Found) -> list[Inferred]:
    """One for each choice, with its seeds together."""
    cases = []
    for source in found.of("attributes", "partitioning", "sweep"):
        for choice, rows in _by_choice(source).items():
            case = _inferred(source, choice, rows)
            if case is not None:
                cases.append(case)
    return cases


def guesses(rows: Iterable[Row]) -> list[Row]:
    """Rows of the attack that looks at nothing."""
    return [row for row in rows if row.get("attack") == _GUESS]


def is_inversion(row: Row) -> bool:
    """Is it an attack's row, with both scores?"""
    scored = number(row, "psnr_db") is not None and number(row, "ssim") is not None
    return scored and row.get("attack") != _GUESS


def choice_of(source: Source, row: Row) -> Choice:
    """What the row is about."""
    settings = source.settings
    network = text(row, "preset") or text(settings, "network", "lenet")
    return Choice(
        text(settings, "data", "unnamed data").removesuffix(".npz"),
        network,
        text(row, "cut") or text(settings, "cut", "an unnamed layer"),
        text(row, "defence", NONE),
        number(row, "strength") or 0.0,
        _how(settings),
    )


def strongest(cases: Sequence[Inverted]) -> list[Inverted]:
    """Of several measurements of the same choice, the one whose attacker came furthest."""
    best: dict[Choice, Inverted] = {}
    for case in cases:
        if case.choice not in best or case.ssim > best[case.choice].ssim:
            best[case.choice] = case
    return list(best.values())


def _how(settings: Row) -> str:
    """What is unusual about the device: draws anew for every query are not safe, and measured."""
    times = number(settings, "asked") or 1
    again = f", asked {times:.0f} times" if times > 1 else ""
    return f", draws anew for each query{again}" if settings.get("repeat") == "fresh" else again


def undefended(case: Inverted, cases: Sequence[Inverted]) -> Inverted | None:
    """The same network without a defence, from the same file."""
    for each in cases:
        same = (each.source, each.choice.cut) == (case.source, case.choice.cut)
        if same and each.choice.defence == NONE:
            return each
    return None


def affordable(
    cases: Sequence[Inverted], plain: Inverted | None, most: float = 0.02
) -> tuple[Inverted, bool]:
    """Of one defence's strengths the one that leaks least among those that lose at most `most` of
    the accuracy; and whether there is one. If not, the one that loses least.
    """
    full = plain.accuracy if plain is not None and plain.accuracy is not None else 1.0
    cheap = [case for case in cases if full - (case.accuracy or 0.0) <= most]
    if cheap:
        return min(cheap, key=lambda case: case.ssim), True
    return max(cases, key=lambda case: case.accuracy or 0.0), False


def taken(
    defended: Sequence[Inverted], cases: Sequence[Inverted], most: float
) -> list[tuple[Inverted | None, Inverted, bool]]:
    """Of each network, cut and defence: the case without it, the strength that one would take, and
    whether it is affordable. Of several files the one whose attacker came furthest without it.
    """
    groups: dict[tuple[str, str, str], list[list[Inverted]]] = {}
    by_file: dict[tuple[str, Choice], list[Inverted]] = {}
    for case in defended:
        by_file.setdefault((case.source.shown, replace(case.choice, strength=0.0)), []).append(case)
    for (_, choice), group in by_file.items():
        groups.setdefault((choice.place, choice.cut, choice.defence), []).append(group)
    found = []
    for files in groups.values():
        group = max(files, key=lambda file: _ssim(undefended(file[0], cases)))
        plain = undefended(group[0], cases)
        found.append((plain, *affordable(group, plain, most)))
    return found


def _ssim(case: Inverted | None) -> float:
    return 0.0 if case is None else case.ssim


def _by_choice(source: Source) -> dict[Choice, list[Row]]:
    found: dict[Choice, list[Row]] = {}
    for row in source.rows:
        found.setdefault(choice_of(source, row), []).append(row)
    return found


def _inverted(source: Source, choice: Choice, rows: Sequence[Row]) -> Inverted | None:
    attacks = [row for row in rows if is_inversion(row)]
    if not attacks:
        return None
    best = max(attacks, key=lambda row: number(row, "ssim") or 0.0)
    guess = _guess(source, choice, best)
    return Inverted(
        source,
        choice,
        text(best, "attack", "an attack"),
        number(best, "psnr_db") or 0.0,
        number(best, "ssim") or 0.0,
        number(best, "task_accuracy"),
        *guess,
        rows=tuple(rows),
    )


def _guess(source: Source, choice: Choice, row: Row) -> tuple[float | None, float | None]:
    """Of the row itself, or of the file's own row about the mean image: it looks at no cut."""
    own = number(row, "mean_image_psnr_db"), number(row, "mean_image_ssim")
    if own[0] is not None:
        return own
    stored = guesses(source.rows)
    at_cut = [each for each in stored if each.get("cut") == choice.cut] or stored
    return (number(at_cut[0], "psnr_db"), number(at_cut[0], "ssim")) if at_cut else (None, None)


def _inferred(source: Source, choice: Choice, rows: Sequence[Row]) -> Inferred | None:
    # One experiment calls the attacker's share accuracy, the others attacker_accuracy.
    scored = [row for row in rows if number(row, "majority") is not None]
    reached = spread(
        number(row, "attacker_accuracy" if "attacker_accuracy" in row else "accuracy")
        for row in scored
    )
    majority = spread(number(row, "majority") for row in scored)
    if reached is None or majority is None:
        return None
    named = text(scored[0], "private") or text(source.settings, "private", "a private attribute")
    return Inferred(
        source,
        choice,
        named,
        reached,
        majority.mean,
        spread(number(row, "floor_accuracy") for row in scored),
        spread(number(row, "task_accuracy") for row in scored),
        tuple(scored),
    )
