"""Whole queries on bundles that the two parties made: the online phase is that of the dealer."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from parties.mpc.bundles import Bundle
from parties.mpc.dealing import SessionId
from parties.mpc.fixed_product import FixedProduct, MaskedWeights
from parties.mpc.fused.choice import Choice
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.fused.tuples import Comparison, FusedRelu
from parties.mpc.planning import planned
from parties.mpc.predict import Rule, predict
from parties.mpc.tuples import And, Square, TupleKind
from parties.mpc.twoparty.live import Live
from parties.mpc.twoparty.maker import TwoParty
from privedge.errors import ShareError, TranscriptMismatch
from privedge.ran.spec import RanSpec
from privedge.sharing.ring import Words
from privedge.sharing.split import split
from tests.unit.mpc.models import SPECS, batch, cohort
from tests.unit.mpc.pair import QueueLink, as_tensor, drawn, fresh_masks, run
from tests.unit.mpc.twoparty.pairing import both
from tests.unit.mpc.twoparty.together import assert_right

_OWNERS = 3
_NAMES = [SessionId(b"one"), SessionId(b"two")]
_MODELS = b"ana", b"ben", b"eve"
_RULE = Rule(margin=0.9)
(_SUBSPACE,) = (spec for spec in SPECS if spec.name == "subspace")


def _made(plan: list[TupleKind], weights: dict[str, list[torch.Tensor]]) -> list[Bundle]:
    name = SessionId(os.urandom(16))
    kinds = [kind for kind in plan if isinstance(kind, FixedProduct)]

    def side(index: int, link: Any) -> Bundle:
        party = TwoParty(index, link)
        for kind in kinds:
            if not party.knows(kind, _MODELS):
                party.learn(kind, weights[kind.name][index], _MODELS)
        return party.bundles(plan, [name], _MODELS)[0]

    made = both(side)
    for each in made:
        if isinstance(each, Exception):
            raise each
    return made


def _shares(words: Words) -> list[torch.Tensor]:
    return [as_tensor(share) for share in split(words)]


def test_a_subspace_query_needs_nobody_else() -> None:
    """The answer is the dealer's, in as many rounds, and nothing is opened of weights."""
    params, x = cohort(_SUBSPACE, _OWNERS), batch(_SUBSPACE, 1)
    names, shares = list(params), {name: _shares(words) for name, words in params.items()}

    def program(engine: FusedEngine, image: Any, *stacked: Any) -> Any:
        return predict(engine, _SUBSPACE, dict(zip(names, stacked, strict=True)), image, _RULE)

    def on_zeros(engine: FusedEngine) -> Any:
        zeros = [torch.zeros(words.shape, dtype=torch.int64) for words in (x, *params.values())]
        return program(engine, *map(engine.share, zeros))

    first, later = planned(on_zeros)
    # Step 1. The same weights as in the online phase, in the form that a product has them.
    weights = {
        "0.basis": shares["0.basis"],
        "0.mean": [share.unsqueeze(1) for share in shares["0.mean"]],
    }
    masked = fresh_masks()
    inputs = [tuple(_shares(x)), *(tuple(shares[name]) for name in names)]
    expected = run(program, x, *params.values(), engine_type=FusedEngine, masked=fresh_masks())
    for plan in (first, later):
        bundles = _made(plan, weights)
        found = run(
            program, *inputs, engine_type=FusedEngine, masked=masked, bundles=tuple(bundles)
        )
        assert np.array_equal(found.value, expected.value)
        assert not masked[0].opened
        assert not bundles[0].parts
    # The dealer's second run, for the rounds of one that finds all constants.
    known = fresh_masks()
    run(program, *inputs, engine_type=FusedEngine, masked=known)
    dealt = run(
        program, *inputs, engine_type=FusedEngine, masked=known, bundles=drawn(later, known)
    )
    assert found.sessions[0].rounds == dealt.sessions[0].rounds
    assert found.sessions[0].bytes_sent == dealt.sessions[0].bytes_sent


class _Made(NamedTuple):
    """What a run of both parties leaves."""

    answer: Words
    pairings: list[Any]
    masked: tuple[MaskedWeights, MaskedWeights]


def _live(inputs: list[Any], program: Any, before: _Made | None) -> _Made:
    """A run in which each tuple is made when it is drawn."""
    links = QueueLink.pair()
    masked = before.masked if before else fresh_masks()
    name = SessionId(os.urandom(16))

    def pair(index: int, _: Any) -> TwoParty:
        return TwoParty.joined(index, links[index], before.pairings[index] if before else None)

    pairings = both(pair)
    supplies = [Live(name, pairing, _MODELS) for pairing in pairings]
    found = run(program, *inputs, engine_type=FusedEngine, masked=masked, bundles=tuple(supplies))
    assert not masked[0].opened
    return _Made(found.value, pairings, masked)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_query_without_a_bundle_makes_its_tuples_as_it_runs(spec: RanSpec) -> None:
    """The second one finds the pairing and the weights that the first one left."""
    params, x = cohort(spec, _OWNERS), batch(spec, 2)
    inputs = [tuple(_shares(words)) for words in (x, *params.values())]

    def program(engine: FusedEngine, image: Any, *stacked: Any) -> Any:
        return predict(engine, spec, dict(zip(params, stacked, strict=True)), image, _RULE)

    expected = run(program, x, *params.values(), engine_type=FusedEngine).value
    first = _live(inputs, program, None)
    sent = first.pairings[0].bytes_sent
    second = _live(inputs, program, first)
    assert np.array_equal(first.answer, expected)
    assert np.array_equal(second.answer, expected)
    assert second.pairings == first.pairings
    # The weights are not sent again.
    assert second.pairings[0].bytes_sent - sent < sent
    # One party has lost its state: both begin anew, with other base transfers.
    lost = _Made(first.answer, [first.pairings[0], None], first.masked)
    third = _live(inputs, program, lost)
    assert np.array_equal(third.answer, expected)
    assert third.pairings[0] is not first.pairings[0]


_SMALL: list[TupleKind] = [Comparison((70,), 16), Choice(5, 1, 3), Square((4,))]


def test_a_plan_of_many_kinds_is_made_in_its_order() -> None:
    plan = [*_SMALL, FusedRelu((4500,), 16), *_SMALL]
    zero, one = _made(plan, {})
    for (kind, mine), (other, theirs) in zip(zero.parts, one.parts, strict=True):
        assert kind == other
        assert_right(kind, mine, theirs)
    assert [kind for kind, _ in zero.parts] == plan


def test_many_bundles_at_once_are_right_and_all_different() -> None:
    owned = FixedProduct("dense", "w", (2, 2, 3), (2, 2, 3))
    shared = FixedProduct("dense", "w", (2, 2, 3), (1, 2, 3))
    plan = [owned, *_SMALL, shared]
    weight = _shares(np.arange(12, dtype=np.uint64).reshape(2, 2, 3))

    def side(index: int, link: Any) -> list[Bundle]:
        party = TwoParty(index, link)
        party.learn(owned, weight[index], _MODELS[:2])
        party.learn(shared, weight[index], _MODELS[:2])
        return party.bundles(plan, _NAMES, _MODELS[:2])

    zero, one = both(side)
    assert [each.run for each in zero] == [each.run for each in one] == _NAMES
    assert not torch.equal(zero[0].parts[0][1][0], zero[1].parts[0][1][0])
    for mine, theirs in zip(zero, one, strict=True):
        for (kind, a), (_, b) in zip(mine.parts, theirs.parts, strict=True):
            if isinstance(kind, FixedProduct):
                wanted = kind.apply(a[0] + b[0], weight[0] + weight[1])
                assert torch.equal(a[1] + b[1], wanted)
            else:
                assert_right(kind, a, b)


def test_a_second_bundle_has_other_masks() -> None:
    def side(index: int, link: Any) -> list[Bundle]:
        party = TwoParty(index, link)
        return [*party.bundles(_SMALL, _NAMES[:1]), *party.bundles(_SMALL, _NAMES[1:])]

    for first, second in both(side):
        for (_, one), (_, other) in zip(first.parts, second.parts, strict=True):
            assert not torch.equal(one.free[0], other.free[0])


class _Loud(Live):
    """A supply whose party hangs up when its making fails, and that counts and spoils exchanges."""

    def __init__(self, pairing: TwoParty, spoil: Callable[[int], bool]) -> None:
        super().__init__(SessionId(b"a run"), pairing, _MODELS)
        self.count = 0
        self._spoil = spoil
        self._link: Any = pairing._line.link
        pairing._line.link = self

    def exchange(self, payload: bytes) -> bytearray:
        self.count += 1
        if self._spoil(self.count):
            payload = payload[:-1] + bytes([payload[-1] ^ 1])
        theirs: bytearray = self._link.exchange(payload)
        return theirs

    def draw(self, kind: TupleKind) -> Any:
        return self._loudly(lambda: super(_Loud, self).draw(kind))

    def product(self, kind: FixedProduct, weight: Any) -> Any:
        return self._loudly(lambda: super(_Loud, self).product(kind, weight))

    def _loudly(self, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except TranscriptMismatch:
            self._link.hang_up()
            raise


@pytest.mark.slow
@pytest.mark.parametrize("dishonest", [0, 1])
def test_a_message_that_is_changed_while_a_query_runs_never_gives_a_wrong_label(
    dishonest: int,
) -> None:
    params, x = cohort(_SUBSPACE, _OWNERS), batch(_SUBSPACE, 1)
    inputs = [tuple(_shares(words)) for words in (x, *params.values())]

    def program(engine: FusedEngine, image: Any, *stacked: Any) -> Any:
        return predict(engine, _SUBSPACE, dict(zip(params, stacked, strict=True)), image, _RULE)

    def asked(at: int) -> int:
        """How many exchanges of making there were, if the change is at this one."""
        pairings = both(TwoParty)
        spoils = [lambda count, index=index: index == dishonest and count == at for index in (0, 1)]
        supplies = tuple(map(_Loud, pairings, spoils))
        run(program, *inputs, engine_type=FusedEngine, bundles=supplies)
        return supplies[0].count

    exchanges = asked(0)
    for at in range(1, exchanges + 1, exchanges // 12):
        with pytest.raises(TranscriptMismatch):
            asked(at)


# Five exchanges of a pairing, three of a weight, and 13 of a bundle. A digest that is changed on
# the last leaves a bundle with one party alone, whose name the other does not know.
@pytest.mark.parametrize("at", [*(pytest.param(at, marks=pytest.mark.slow) for at in (0, 0.5)), 1])
@pytest.mark.parametrize("step", range(1, 22))
def test_a_message_that_is_changed_at_any_step_ends_the_making(step: int, at: float) -> None:
    """Whoever changes one bit: nothing that was made can be used."""
    weight = _shares(np.arange(12, dtype=np.uint64).reshape(2, 2, 3))
    kind = FixedProduct("dense", "w", (2, 2, 3), (1, 1, 3))
    changed = []

    def spoil(index: int, count: int, payload: bytes) -> bytes:
        if index != step % 2 or count != step:
            return payload
        changed.append(count)
        spoilt = bytearray(payload)
        spoilt[int(at * (len(payload) - 1))] ^= 1
        return bytes(spoilt)

    def side(index: int, link: Any) -> Bundle:
        party = TwoParty(index, link)
        party.learn(kind, weight[index], _MODELS[:2])
        return party.bundles([kind, *_SMALL], _NAMES[:1], _MODELS[:2])[0]

    results = both(side, spoil)
    assert changed
    assert any(isinstance(each, TranscriptMismatch) for each in results)
    assert not any(isinstance(each, Bundle) for each in results)


def test_what_two_parties_cannot_make_is_refused_before_anything_is_sent() -> None:
    def side(index: int, link: Any) -> None:
        party = TwoParty(index, link)
        sent, wide = party.bytes_sent, FixedProduct("conv", "w", (1, 1, 1, 3, 3), (1, 1, 1, 99, 99))
        with pytest.raises(ShareError, match="cannot make"):
            party.bundles([And((3,))], _NAMES)
        with pytest.raises(ShareError, match="cannot make"):
            party.learn(wide, torch.zeros(wide.masked), _MODELS[:1])
        assert party.bytes_sent == sent

    assert both(side) == [None, None]


def test_parties_with_different_plans_make_nothing() -> None:
    def side(index: int, link: Any) -> Bundle:
        party = TwoParty(index, link)
        return party.bundles([Comparison((70 + index,), 16)], _NAMES)[0]

    assert all(isinstance(each, TranscriptMismatch) for each in both(side))
