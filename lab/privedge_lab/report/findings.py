"""Sentences about results, each made of figures that are there. Nothing is told without one."""

from collections.abc import Iterable, Iterator, Sequence

from privedge_lab.pages.wording import (
    decibels,
    in_order,
    listed,
    percent,
    plural,
    points,
    spread,
)
from privedge_lab.report import cohorts, leaks
from privedge_lab.report.approaches import AFFORDABLE
from privedge_lab.report.cohorts import Cohort
from privedge_lab.report.leaks import NONE, Inverted
from privedge_lab.report.reader import Found
from privedge_lab.report.sections import conditions, disguising, fairness, growth, parties
from privedge_lab.results.rows.bench import QueryRow
from privedge_lab.results.rows.fairness import FairnessRow
from privedge_lab.results.rows.identify import IdentifyRow
from privedge_lab.results.rows.party import PartyRow
from privedge_lab.results.rows.robustness import RobustnessRow
from privedge_lab.results.rows.scale import ScaleRow
from privedge_lab.results.rows.values import Figure


def gaps(found: Found, kind: str) -> list[tuple[Cohort, tuple[float, float, list[int]]]]:
    """Macro recalls of the private models and of a baseline on the seeds they share."""
    pairs = []
    for cohort in cohorts.cohorts(found):
        private, other = cohort.private(), cohort.baseline(kind)
        means = cohorts.gap(private, other) if private and other else None
        if means is not None:
            pairs.append((cohort, means))
    return pairs


def accuracy(found: Found) -> list[str]:
    """Private models against pooled images, set by set."""
    told = []
    for kind, name in (("cnn", "a network on pooled images"), ("knn", "pooled nearest neighbours")):
        for cohort, (mine, other, seeds) in gaps(found, kind):
            on = f"seed{'s' if len(seeds) > 1 else ''} {listed([str(seed) for seed in seeds])}"
            best = f", the best of {cohort.presets} presets here" if cohort.presets > 1 else ""
            told.append(
                f"{cohorts.with_owners(cohort)}: private {percent(mine)} macro recall{best}, "
                f"{name} {percent(other)} ({on}): privacy {price(other - mine)}"
            )
    return told


def standing(gap: float) -> str:
    """How private models stand that are `gap` (a share) below another: better or worse."""
    return f"{points(abs(gap))} {'worse' if gap > 0 else 'better'}"


def price(gap: float) -> str:
    """A difference of macro recall in words; above 0 the private models are worse."""
    if abs(gap) < 0.0005:
        return "cost nothing"
    return (
        f"cost {points(gap)}"
        if gap > 0
        else f"cost nothing: private models are {points(gap)} better"
    )


def agreement(found: Found) -> list[str]:
    """Whether private answers are those of the plaintext models; ties may go either way."""
    told, floats = [], []
    for file in found.of(IdentifyRow):
        given = [row.agreement for row in file.rows if row.agreement is not None]
        floats += [each.fixed_plain for each in given]
        same = spread(each.fused_fixed for each in given)
        asked = sum(each.queries or 0 for each in given)
        if same is not None:
            told.append(
                f"{cohorts.label(file.about)}: {percent(same.mean, 2)} of {asked:.0f} answers "
                "of a real deployment are those of the fixed-point model in the clear"
            )
    told += _at_least("answers of growing cohorts", _of_scale(found))
    told += _at_least("answers of the bench", _of_bench(found))
    if least := spread(floats):
        told.append(f"fixed point gives the answers of float32 in at least {percent(least.low, 2)}")
    return told


def strangers(found: Found) -> list[str]:
    """How well strangers are kept out, set by set."""
    return [line for cohort in cohorts.cohorts(found) for line in cohorts.of_strangers(cohort)]


def _at_least(what: str, same: Iterable[Figure]) -> list[str]:
    least = spread(same)
    if least is None:
        return []
    told = f"those of the fixed-point model in the clear in at least {percent(least.low, 2)}"
    return [f"{what}: {told}"]


def _of_scale(found: Found) -> Iterator[Figure]:
    for file in found.of(ScaleRow):
        yield from (row.private.agreement for row in file.rows if row.private is not None)


def _of_bench(found: Found) -> Iterator[Figure]:
    """Our own engine's answers alone: a bench also measures other engines."""
    for file in found.of(QueryRow):
        yield from (row.agreement for row in file.rows if row.engine in (None, "fused"))


def one_party(found: Found) -> list[str]:
    """What the views of one party, and of both, were worth."""
    told = []
    for file in found.of(PartyRow):
        views = parties.views(file.rows)
        for whose in ("one party alone", "both together, which must not happen"):
            mine = [v for v in views if (v.party == parties.BOTH) == whose.startswith("both")]
            if mine:
                most = max(mine, key=lambda view: view.sigmas)
                verdict = "a leak" if most.leaks else "no more than guessing"
                told.append(
                    f"{_presets(mine)}, {whose}: {most.sigmas:.1f} standard errors above guessing "
                    "at most, over "
                    f"{plural(len(mine), 'attack')}: {verdict}"
                )
    return told


def _presets(views: Sequence[parties.View]) -> str:
    return listed(in_order(view.preset for view in views))


def without(found: Found) -> list[str]:
    """What a server gets without private computation or a defence."""
    told = [
        f"{case.choice.place}: images of {decibels(case.psnr)}, SSIM {case.ssim:.2f}{guess(case)}"
        for case in leaks.strongest(leaks.inverted(leaks.attacked(found)))
        if case.choice.defence == NONE
    ]
    told += [
        f"{case.choice.place}: {case.private} read off {percent(case.attacker.mean)} "
        f"(guessing: {percent(case.majority)})"
        for case in leaks.inferred(found)
        if case.choice.defence == NONE
    ]
    return told


def guess(case: Inverted) -> str:
    """The score of an attack that looks at nothing."""
    return "" if case.guess_psnr is None else f"; a guess has {decibels(case.guess_psnr)}"


def instead(found: Found) -> list[str]:
    """What defences and disguises leave to attackers."""
    cases = leaks.inverted(leaks.attacked(found))
    defended = [case for case in cases if case.choice.defence != NONE]
    told = [_defended(*each) for each in leaks.taken(defended, cases, AFFORDABLE)]
    told += [
        f"{each.name}: {percent(each.adaptive)} of disguised images are recognised without the key "
        f"(guessing: {percent(each.majority)})"
        for each in disguising.disguises(found)
        if each.adaptive is not None
    ]
    return told


def _defended(plain: Inverted | None, best: Inverted, cheap: bool) -> str:
    before = "" if plain is None else f" ({decibels(plain.psnr)} without)"
    told = (
        f"{best.choice.named} after {best.choice.cut} ({best.choice.data}) leaves images of "
        f"{decibels(best.psnr)}{before}"
    )
    if cheap:
        return f"{told} and costs at most {points(AFFORDABLE)} of accuracy"
    return f"{told}, and none of its strengths costs less than {points(AFFORDABLE)} of accuracy"


def disturbed(found: Found) -> list[str]:
    """Of each set, what each disturbance costs at the level where it costs most."""
    told = []
    for file in found.of(RobustnessRow):
        clean, worst = conditions.worst(file.rows)
        if clean is None:
            continue
        levels = [f"{percent(least)} at {level}" for level, least in worst]
        about = cohorts.label(file.about)
        told.append(f"{about}: {percent(clean)} macro recall undisturbed, {listed(levels)}")
    return told


def grown(found: Found) -> list[str]:
    """From the fewest owners to the most."""
    told = []
    for file in found.of(ScaleRow):
        counts = growth.owners_of(file.rows)
        ends = [
            (n, growth.at(file.rows, n, growth.macro_recall)) for n in (*counts[:1], *counts[-1:])
        ]
        reached = [
            f"{percent(recall.mean)} with {plural(n, 'owner')}" for n, recall in ends if recall
        ]
        if reached:
            told.append(f"{cohorts.label(file.about)}: macro recall {listed(reached)}")
    return told


def taken(found: Found) -> list[str]:
    """Of each file the thief that wins most as the parties compare, and what stops it best."""
    told = []
    for file in found.of(FairnessRow):
        rates = [
            (rate.mean, thief)
            for thief in fairness.thieves(file.rows)
            if (rate := fairness.stolen(file.rows, thief, fairness.NONE)) is not None
        ]
        if rates:
            most, thief = max(rates)
            told.append(
                f"{cohorts.label(file.about)} ({file.shown}): the worst thief, {thief}, "
                f"wins {percent(most)} of questions about others"
            )
    return told
