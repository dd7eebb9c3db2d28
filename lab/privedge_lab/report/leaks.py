"""What adversaries got of split inference, from every experiment that attacked it.

inversion    `attack table` and `split sweep`: how like the originals the reconstructions are
attribute    `attack attributes`, `attack partitioning`, `split sweep --private`

Of several attacks on one choice the strongest counts. Sees rows of figures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from privedge_lab.pages.wording import Spread, spread
from privedge_lab.report.reader import File, Found, Source
from privedge_lab.results.rows.attributes import AttributesRow
from privedge_lab.results.rows.inversion import InversionRow
from privedge_lab.results.rows.partitioning import PartitioningRow
from privedge_lab.results.rows.settings import Settings
from privedge_lab.results.rows.sweep import SweepRow
from privedge_lab.results.rows.values import Figure

# Rows of attacks that make images, and of attacks that read a private fact.
Inversion = InversionRow | SweepRow
Inference = AttributesRow | PartitioningRow | SweepRow
T = TypeVar("T", bound=Inversion | Inference)

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
    rows: tuple[Inversion, ...] = field(repr=False)


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
    rows: tuple[Inference, ...] = field(repr=False)


def attacked(found: Found) -> list[File[Inversion]]:
    """The files with rows of attacks that make images."""
    return found.of(InversionRow, SweepRow)


def inverted(files: Iterable[File[Inversion]]) -> list[Inverted]:
    """One for each choice, in the order measured."""
    cases = []
    for file in files:
        for choice, rows in _by_choice(file).items():
            case = _inverted(file, choice, rows)
            if case is not None:
                cases.append(case)
    return cases


def inferred(found: Found) -> list[Inferred]:
    """One for each choice, with its seeds together."""
    files: list[File[Inference]] = found.of(AttributesRow, PartitioningRow, SweepRow)
    cases = []
    for file in files:
        for choice, rows in _by_choice(file).items():
            case = _inferred(file, choice, rows)
            if case is not None:
                cases.append(case)
    return cases


def guesses(rows: Iterable[Inversion]) -> list[Inversion]:
    """Rows of the attack that looks at nothing."""
    return [row for row in rows if row.attack == _GUESS]


def is_inversion(row: Inversion) -> bool:
    """Is it an attack's row, with both scores?"""
    return row.psnr_db is not None and row.ssim is not None and row.attack != _GUESS


def choice_of(about: Settings, row: Inversion | Inference) -> Choice:
    """What the row is about."""
    network = row.preset if isinstance(row, AttributesRow) else None
    cut = None if isinstance(row, PartitioningRow) else row.cut
    return Choice(
        (about.data or "unnamed data").removesuffix(".npz"),
        network or about.network or "lenet",
        cut or about.cut or "an unnamed layer",
        row.defence or NONE,
        row.strength or 0.0,
        _how(about),
    )


def strongest(cases: Sequence[Inverted]) -> list[Inverted]:
    """Of several measurements of the same choice, the one whose attacker came furthest."""
    best: dict[Choice, Inverted] = {}
    for case in cases:
        if case.choice not in best or case.ssim > best[case.choice].ssim:
            best[case.choice] = case
    return list(best.values())


def _how(about: Settings) -> str:
    """What is unusual about the device: draws anew for every query are not safe, and measured."""
    times = about.asked or 1
    again = f", asked {times:.0f} times" if times > 1 else ""
    return f", draws anew for each query{again}" if about.repeat == "fresh" else again


def undefended(case: Inverted, cases: Sequence[Inverted]) -> Inverted | None:
    """The same network without a defence, from the same file."""
    for each in cases:
        same = each.source is case.source and each.choice.cut == case.choice.cut
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


def _by_choice(file: File[T]) -> dict[Choice, list[T]]:
    found: dict[Choice, list[T]] = {}
    for row in file.rows:
        found.setdefault(choice_of(file.about, row), []).append(row)
    return found


def _inverted(file: File[Inversion], choice: Choice, rows: Sequence[Inversion]) -> Inverted | None:
    attacks = [row for row in rows if is_inversion(row)]
    if not attacks:
        return None
    best = max(attacks, key=lambda row: row.ssim or 0.0)
    guess = _guess(file, choice, best)
    return Inverted(
        file.source,
        choice,
        best.attack or "an attack",
        best.psnr_db or 0.0,
        best.ssim or 0.0,
        best.task_accuracy,
        *guess,
        rows=tuple(rows),
    )


def _guess(file: File[Inversion], choice: Choice, row: Inversion) -> tuple[Figure, Figure]:
    """Of the row itself, or of the file's own row about the mean image: it looks at no cut."""
    if isinstance(row, SweepRow) and row.mean_image_psnr_db is not None:
        return row.mean_image_psnr_db, row.mean_image_ssim
    stored = guesses(file.rows)
    at_cut = [each for each in stored if each.cut == choice.cut] or stored
    return (at_cut[0].psnr_db, at_cut[0].ssim) if at_cut else (None, None)


def _inferred(file: File[Inference], choice: Choice, rows: Sequence[Inference]) -> Inferred | None:
    scored = [row for row in rows if row.majority is not None]
    reached = spread(row.guessed for row in scored)
    majority = spread(row.majority for row in scored)
    if reached is None or majority is None:
        return None
    named = None if isinstance(scored[0], PartitioningRow) else scored[0].private
    return Inferred(
        file.source,
        choice,
        named or file.about.private or "a private attribute",
        reached,
        majority.mean,
        spread(row.floor_accuracy for row in scored),
        spread(row.task_accuracy for row in scored),
        tuple(scored),
    )
