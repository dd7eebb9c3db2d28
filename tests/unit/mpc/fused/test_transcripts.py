"""A party cannot tell a query with a black image from one with a bright image by what it receives.

If that holds, every received word, and every opening, is uniform and independent of all others. The
bounds are Hoeffding's (bits) and Laurent and Massart's (chi-square). All statistics of this module
together raise a false alarm in less than one run in a million.
"""

from dataclasses import dataclass
from math import log, sqrt

import numpy as np
import pytest

from parties.mpc.fused.engine import FusedEngine
from parties.mpc.predict import Rule, predict
from privedge.sharing.fixed_point import encode
from tests.unit.mpc.fused.test_exact_rounding import ExactEngine
from tests.unit.mpc.models import SPECS, cohort
from tests.unit.mpc.pair import View, as_words, run

SESSIONS = 40
SPEC = SPECS[0]
# With the mean, whose truncation opens words too.
RULE = Rule(margin=0.9, mean_share=0.35)
BITS, BYTES = 64, 8
ENGINES = (FusedEngine, ExactEngine)
# Two parties, three ways to look at an exchange; both tails of each statistic.
STATISTICS = len(ENGINES) * 2 * 3 * (BITS + BYTES) * 2
FALSE_ALARM = 1e-6 / STATISTICS


@dataclass
class Seen:
    """Words of many sessions, in order: what came, and what each exchange opened."""

    received: np.ndarray
    sums: np.ndarray
    differences: np.ndarray


def gathered(views: list[View]) -> Seen:
    mine, theirs = (
        np.concatenate([as_words(words.reshape(-1)) for view in views for words in kept(view)])
        for kept in (lambda view: view.sent, lambda view: view.received)
    )
    return Seen(theirs, mine + theirs, mine ^ theirs)


def sessions(engine_type: type[FusedEngine], brightness: float) -> list[tuple[View, View]]:
    """The views of SESSIONS queries for one even image, each with fresh shares and masks."""
    parameters = cohort(SPEC, 2)
    names = list(parameters)
    image = encode(np.full((1, *SPEC.input_shape), brightness))

    def program(engine, x, *stacked):
        return predict(engine, SPEC, dict(zip(names, stacked, strict=True)), x, RULE)

    return [
        run(program, image, *parameters.values(), engine_type=engine_type).views
        for _ in range(SESSIONS)
    ]


def bits_differ(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether any bit of the words is set more often in one sample than in the other."""
    # The difference of two sums of n fair bits each, by Hoeffding over 2n of them.
    limit = sqrt(first.size * log(2 / FALSE_ALARM))
    return any(
        abs(float(count(first, place) - count(second, place))) > limit for place in range(BITS)
    )


def count(words: np.ndarray, place: int) -> int:
    return int(((words >> np.uint64(place)) & np.uint64(1)).sum())


def bytes_differ(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether any byte of the words is distributed differently in one sample and in the other."""
    freedom, t = 255, log(1 / FALSE_ALARM)
    highest = freedom + 2 * sqrt(freedom * t) + 2 * t
    lowest = freedom - 2 * sqrt(freedom * t)
    return any(not lowest < homogeneity(first, second, place) < highest for place in range(BYTES))


def homogeneity(first: np.ndarray, second: np.ndarray, place: int) -> float:
    """Pearson's statistic for two samples of equal size: chi-square of 255 if they are alike."""
    a, b = (
        np.bincount(((words >> np.uint64(8 * place)) & np.uint64(255)).astype(int), minlength=256)
        for words in (first, second)
    )
    return float(((a - b) ** 2 / np.maximum(a + b, 1)).sum())


@pytest.mark.parametrize("engine", ENGINES)
def test_transcripts_of_a_black_and_of_a_bright_image_are_alike(engine):
    black, bright = sessions(engine, 0.0), sessions(engine, 1.0)
    for party in (0, 1):
        one, other = (gathered([views[party] for views in pairs]) for pairs in (black, bright))
        assert one.received.size == other.received.size > 50_000
        for name in ("received", "sums", "differences"):
            first, second = getattr(one, name), getattr(other, name)
            assert not bits_differ(first, second), name
            assert not bytes_differ(first, second), name


def test_the_same_look_at_what_the_masks_hide_tells_the_images_apart():
    unmasked = [
        np.concatenate([without_masks(*views) for views in sessions(FusedEngine, brightness)])
        for brightness in (0.0, 1.0)
    ]
    assert bits_differ(*unmasked)
    assert bytes_differ(*unmasked)


def without_masks(first: View, second: View) -> np.ndarray:
    """The image: it is opened in the second exchange, the first opens the weights."""
    opened = first.sent[1].reshape(-1) + first.received[1].reshape(-1)
    return as_words(opened + sum(view.tuples[0][1].free[0].reshape(-1) for view in (first, second)))
