"""Sentences about results, each made of figures that are there. Nothing is told without one."""

from collections.abc import Sequence

from privedge_lab.report import cohorts, leaks
from privedge_lab.report.approaches import AFFORDABLE
from privedge_lab.report.cohorts import Cohort
from privedge_lab.report.leaks import NONE, Inverted
from privedge_lab.report.reader import Found
from privedge_lab.report.sections import conditions, disguising, fairness, growth, parties
from privedge_lab.report.values import (
    decibels,
    in_order,
    listed,
    number,
    percent,
    plural,
    points,
    spread,
)


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
    told = []
    for source in found.of("identify"):
        same = spread(number(row, "agreement", "fused_fixed") for row in source.rows)
        asked = sum(number(row, "agreement", "queries") or 0 for row in source.rows)
        if same is not None:
            told.append(
                f"{cohorts.label(source.settings)}: {percent(same.mean, 2)} of {asked:.0f} answers "
                "of a real deployment are those of the fixed-point model in the clear"
            )
    told += _at_least("scale", "answers of growing cohorts", found, "private", "agreement")
    told += _at_least("bench query", "answers of the bench", found, "agreement")
    if floats := _figures("identify", found, "agreement", "fixed_plain"):
        told.append(
            f"fixed point gives the answers of float32 in at least {percent(min(floats), 2)}"
        )
    return told


def _at_least(experiment: str, what: str, found: Found, *names: str) -> list[str]:
    same = _figures(experiment, found, *names)
    if not same:
        return []
    return [
        f"{what}: those of the fixed-point model in the clear in at least {percent(min(same), 2)}"
    ]


def _figures(experiment: str, found: Found, *names: str) -> list[float]:
    """Of every row of the experiment that has it; a bench also measures engines of others."""
    rows = [
        row
        for source in found.of(experiment)
        for row in source.rows
        if row.get("engine", "fused") == "fused"
    ]
    return [value for row in rows if (value := number(row, *names)) is not None]


def one_party(found: Found) -> list[str]:
    """What the views of one party, and of both, were worth."""
    told = []
    for source in found.of("party"):
        views = parties.views(source)
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
        for case in leaks.strongest(leaks.inverted(found))
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
    cases = leaks.inverted(found)
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
    for source in found.of("robustness"):
        clean, worst = conditions.worst(source)
        if clean is None:
            continue
        levels = [f"{percent(least)} at {level}" for level, least in worst]
        about = cohorts.label(source.settings)
        told.append(f"{about}: {percent(clean)} macro recall undisturbed, {listed(levels)}")
    return told


def grown(found: Found) -> list[str]:
    """From the fewest owners to the most."""
    told = []
    for source in found.of("scale"):
        counts = growth.owners_of(source.rows)
        ends = [(n, growth.at(source.rows, n, "macro_recall")) for n in (*counts[:1], *counts[-1:])]
        reached = [
            f"{percent(recall.mean)} with {plural(n, 'owner')}" for n, recall in ends if recall
        ]
        if reached:
            told.append(f"{cohorts.label(source.settings)}: macro recall {listed(reached)}")
    return told


def taken(found: Found) -> list[str]:
    """Of each file the thief that wins most as the parties compare, and what stops it best."""
    told = []
    for source in found.of("fairness"):
        rates = [
            (rate.mean, thief)
            for thief in fairness.thieves(source.rows)
            if (rate := fairness.stolen(source.rows, thief, fairness.NONE)) is not None
        ]
        if rates:
            most, thief = max(rates)
            told.append(
                f"{cohorts.label(source.settings)} ({source.shown}): the worst thief, {thief}, "
                f"wins {percent(most)} of questions about others"
            )
    return told
