"""Weights are learned model by model: what a cohort had before is not sent again."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from parties.mpc.dealing import SessionId
from parties.mpc.fixed_product import FixedProduct
from parties.mpc.twoparty import learned
from parties.mpc.twoparty.learned import Models, is_encrypted
from parties.mpc.twoparty.maker import TwoParty
from tests.unit.mpc.twoparty.pairing import both

_OLD: Models = (b"ana", b"ben", b"eve")
_NEW: Models = (b"ana", b"ada", b"ben", b"eve")
_FORMS = {
    "dense, shared": ("dense", (5, 4), lambda n: (1, 2, 4)),
    "dense, own": ("dense", (5, 4), lambda n: (n, 2, 4)),
    "convolution, shared": ("conv", (3, 2, 3, 3), lambda n: (2, 1, 2, 6, 6)),
    "convolution, own": ("conv", (3, 2, 3, 3), lambda n: (2, n, 2, 6, 6)),
}


def _words(*shape: int) -> torch.Tensor:
    raw = bytearray(os.urandom(8 * int(torch.Size(shape).numel())))
    return torch.frombuffer(raw, dtype=torch.int64).reshape(shape)


class _Cohort:
    """Both parties' shares of models' weights of one layer, by name."""

    def __init__(self, form: str) -> None:
        self._map, self._shape, self._input = _FORMS[form]
        self._known: dict[bytes, tuple[torch.Tensor, torch.Tensor]] = {}

    def kind(self, models: Models) -> FixedProduct:
        count = len(models)
        return FixedProduct(self._map, "w", (count, *self._shape), self._input(count))  # type: ignore[arg-type]

    def shares(self, models: Models) -> list[torch.Tensor]:
        for model in models:
            self._known.setdefault(model, (_words(*self._shape), _words(*self._shape)))
        kind = self.kind(models)
        return [
            kind.prepared(torch.stack([self._known[model][party] for model in models]))
            for party in (0, 1)
        ]


def _asked(pairings: list[TwoParty], cohort: _Cohort, models: Models) -> int:
    """Learn what is missing of these, and assert that a product is right; bytes of learning."""
    kind, shares = cohort.kind(models), cohort.shares(models)
    sent = sum(pairing.bytes_sent for pairing in pairings)
    pairings_of = {0: pairings[0], 1: pairings[1]}

    def learn(index: int, _: Any) -> None:
        pairings_of[index].learn(kind, shares[index], models)

    _together(pairings, learn)
    learned_bytes = sum(pairing.bytes_sent for pairing in pairings) - sent
    names = [SessionId(b"one"), SessionId(b"two")]

    def make(index: int, _: Any) -> Any:
        return pairings_of[index].bundles([kind], names, models)

    for zero, one in zip(*_together(pairings, make), strict=True):
        (_, (mask0, product0)), (_, (mask1, product1)) = zero.parts[0], one.parts[0]
        wanted = kind.apply(mask0 + mask1, shares[0] + shares[1])
        assert torch.equal(product0 + product1, wanted)
    return learned_bytes


def _together(pairings: list[TwoParty], side: Any) -> list[Any]:
    results = both(side, links=[pairing._line.link for pairing in pairings])
    for each in results:
        if isinstance(each, Exception):
            raise each
    return results


@pytest.fixture
def pairings() -> list[TwoParty]:
    return both(TwoParty)


@pytest.mark.parametrize("form", _FORMS)
def test_a_model_that_joins_a_cohort_is_learned_alone(form: str, pairings: list[TwoParty]) -> None:
    cohort = _Cohort(form)
    three = _asked(pairings, cohort, _OLD)
    one = _asked(pairings, cohort, _NEW)
    assert 0 < one <= three / 2
    # All are known by now, in any order and any part of them that is most of a lot.
    assert _asked(pairings, cohort, _NEW[::-1]) == 0
    assert _asked(pairings, cohort, _NEW[:3]) == 0


def test_a_lot_of_models_that_are_mostly_gone_is_learned_again(pairings: list[TwoParty]) -> None:
    cohort = _Cohort("dense, own")
    _asked(pairings, cohort, _OLD)
    assert _asked(pairings, cohort, (b"eve", b"new")) > 0
    assert [known.models for known in pairings[0].weights.values()] == [_OLD, (b"eve", b"new")]


def test_many_small_lots_of_a_shared_input_become_one(
    monkeypatch: pytest.MonkeyPatch, pairings: list[TwoParty]
) -> None:
    """Each of them sends the input's mask once more."""
    monkeypatch.setattr(learned, "_MOST_LOTS", 3)
    cohort = _Cohort("dense, shared")
    models = _OLD
    for number in range(3):
        _asked(pairings, cohort, models)
        models = (*models, b"new %d" % number)
    _asked(pairings, cohort, models)
    lots = {len(known.models) for known in pairings[0].weights.values()}
    assert lots == {3}


def test_a_run_that_ends_early_keeps_the_lots_that_it_learned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(learned, "_LOT", 1)
    cohort = _Cohort("dense, own")
    kind, shares = cohort.kind(_OLD), cohort.shares(_OLD)
    # Each lot takes a nonce, one message and an agreement; the third one's agreement never comes.
    pairings: list[Any] = [None, None]

    def learn(index: int, link: Any) -> None:
        pairings[index] = pairing = TwoParty(index, _Cut(link, 5 + 3 * 2 + 2))
        pairing.learn(kind, shares[index], _OLD)

    assert all(isinstance(each, ConnectionError) for each in both(learn))
    known = pairings[0].weights
    assert sorted(each.models for each in known.values()) == [(b"ana",), (b"ben",)]

    def again(index: int, link: Any) -> TwoParty:
        return TwoParty.joined(index, link, None, pairings[index].weights)

    joined = both(again)
    assert joined[0].weights == known
    assert _asked(joined, cohort, _OLD) > 0
    assert set(known) < set(joined[0].weights)


def test_two_pairings_use_the_same_weights_at_once(pairings: list[TwoParty]) -> None:
    """As a query and the making of bundles do, in threads of their own."""
    cohort = _Cohort("convolution, own")
    _asked(pairings, cohort, _OLD)
    lots = [pairing.weights for pairing in pairings]

    def use(_: int) -> None:
        joined = both(lambda index, link: TwoParty.joined(index, link, None, lots[index]))
        for _ in range(3):
            assert _asked(joined, cohort, _OLD) == 0

    with ThreadPoolExecutor() as threads:
        assert list(threads.map(use, range(2))) == [None, None]


class _Cut:
    """A link that breaks after so many exchanges."""

    def __init__(self, link: Any, after: int) -> None:
        self._link, self._left = link, after

    def exchange(self, payload: bytes) -> bytearray:
        if not self._left:
            raise ConnectionError
        self._left -= 1
        theirs: bytearray = self._link.exchange(payload)
        return theirs


@pytest.mark.parametrize(
    ("owners", "inputs", "encrypted"),
    [(16, 512, False), (17, 512, True), (16, 2048, False), (17, 2048, True), (33, 64, True)],
)
def test_weights_are_encrypted_once_only_where_hints_would_be_many(
    owners: int, inputs: int, encrypted: bool
) -> None:
    """What they cost once grows with the inputs, whatever the owners are."""
    kind = FixedProduct("dense", "w", (owners, 64, inputs), (1, 1, inputs))
    assert is_encrypted(kind) == encrypted
