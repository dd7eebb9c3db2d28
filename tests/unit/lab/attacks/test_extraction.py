"""A copy from labels alone: better with more labels, and none without (attacks/extraction.py)."""

import numpy as np
import pytest

from privedge.errors import BudgetSpent, LimitExceeded
from privedge_lab.attacks.extraction import BISECTIONS, Public, Thief

SIZE, COMPONENTS = 16, 2
OWNERS = ("ana", "ben")
PUBLIC = Public(OWNERS, margin=0.8, components=COMPONENTS)


class Service:
    """A cohort in the clear, which counts what it is asked."""

    def __init__(self, limit=None, at_once=None):
        rng = np.random.default_rng(5)
        self.means = rng.normal(size=(2, SIZE)) * 0.6
        self.bases = [np.linalg.qr(rng.normal(size=(SIZE, COMPONENTS)))[0].T for _ in OWNERS]
        self.examples, self.fresh = rng.normal(size=(2, 600, SIZE))
        self.asked, self._limit, self._at_once = 0, limit, at_once

    def answers(self, features):
        centred = [features - mean for mean in self.means]
        errors = np.stack(
            [
                (each**2).sum(1) - ((each @ basis.T) ** 2).sum(1)
                for each, basis in zip(centred, self.bases, strict=True)
            ],
            axis=1,
        )
        best, second = np.sort(errors, axis=1).T
        names = errors.argmin(axis=1)
        return [
            OWNERS[name] if known else None
            for name, known in zip(names, best < 0.8 * second, strict=True)
        ]

    def ask(self, features):
        if self._at_once is not None and len(features) > self._at_once:
            raise LimitExceeded("more than the whole budget")
        if self._limit is not None and self.asked + len(features) > self._limit:
            raise BudgetSpent("spent")
        self.asked += len(features)
        return self.answers(features)


def agreement(thief, service):
    pairs = zip(thief.copy().answers(service.fresh), service.answers(service.fresh), strict=True)
    return sum(mine == theirs for mine, theirs in pairs) / len(service.fresh)


@pytest.fixture(scope="module")
def copied():
    """Agreement by the number of labels."""
    service = Service()
    thief, found = Thief(service.ask, PUBLIC, service.examples, seed=0), {}
    for labels in (64, 12_000):
        thief.gather(labels)
        assert thief.labels == service.asked
        assert labels <= thief.labels < labels + 512 * (1 + BISECTIONS)
        found[labels] = agreement(thief, service)
    return found


def test_w45_enough_labels_copy_a_cohort(copied):
    assert copied[12_000] > 0.93


def test_w45_few_labels_do_not(copied):
    assert copied[64] < 0.9


@pytest.mark.parametrize("limit", [0, 1, 37])
def test_w45_a_budget_ends_the_attack_with_what_it_allows(limit):
    service = Service(limit, at_once=20)
    thief = Thief(service.ask, PUBLIC, service.examples, seed=0)
    thief.gather(12_000)
    assert thief.stopped
    assert thief.labels == service.asked == limit
    assert agreement(thief, service) < 0.9
    thief.gather(12_000)
    assert service.asked == limit


def test_what_is_no_budget_is_not_taken_for_one():
    service = Service(at_once=0)
    with pytest.raises(LimitExceeded):
        Thief(service.ask, PUBLIC, service.examples, seed=0).gather(10)


def test_questions_have_length_one_where_the_cohort_wants_it():
    service, lengths = Service(), []

    def ask(features):
        lengths.extend(np.linalg.norm(features, axis=1))
        return service.answers(features)

    public = Public(OWNERS, 0.8, COMPONENTS, unit_length=True)
    Thief(ask, public, service.examples, seed=0).gather(400)
    assert np.allclose(lengths, 1)
