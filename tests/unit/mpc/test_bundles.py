"""A run on a bundle equals the live run but needs no dealer; a bundle that does not fit ends it."""

from collections import deque

import numpy as np
import pytest
import torch

from parties.mpc.bundles import Bundle, size_of
from parties.mpc.dealing import SessionId, TupleShares
from parties.mpc.fixed_product import FixedProduct, FixedWeight, MaskedWeights
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.network import Network
from parties.mpc.predict import Rule, predict
from parties.mpc.session import Session
from parties.mpc.tuples import Square, TupleKind
from privedge.errors import TranscriptMismatch
from privedge_lab.reference import run as reference
from privedge_lab.reference.clear import ClearEngine
from tests.unit.mpc.models import SPECS, batch, cohort
from tests.unit.mpc.pair import Masked, Outcome, as_tensor, drawn, fresh_masks, run

OWNERS, IMAGES = 3, 2
FIRST = [spec for spec in SPECS if spec.name in ("every-conv", "subspace")]


class ExactEngine(FusedEngine):
    """Its runs can be compared bit for bit."""

    def __init__(self, session: Session, masked: MaskedWeights) -> None:
        super().__init__(session, masked, exact=True)


class Cohort:
    """One snapshot whose weights are opened once; `plan` is what a later run takes."""

    def __init__(self, spec, step=None, engine_type=FusedEngine) -> None:
        self._spec, self._engine_type = spec, engine_type
        self._step = step or (lambda engine, p, x: Network(spec, p, engine).dissimilarity(x))
        self._parameters = cohort(spec, OWNERS)
        self.masked: Masked = fresh_masks()
        self.run()
        self.live = self.run()
        self.plan: list[TupleKind] = self.live.sessions[0].tuples.used

    def run(self, bundles=None, images=None) -> Outcome:
        names = list(self._parameters)

        def program(engine, x, *stacked):
            return self._step(engine, dict(zip(names, stacked, strict=True)), x)

        return run(
            program,
            batch(self._spec, IMAGES) if images is None else images,
            *self._parameters.values(),
            engine_type=self._engine_type,
            masked=self.masked,
            bundles=bundles,
        )

    def clear(self) -> np.ndarray:
        stacked = {name: as_tensor(words) for name, words in self._parameters.items()}
        images = as_tensor(batch(self._spec, IMAGES))
        value: np.ndarray = self._step(ClearEngine(), stacked, images).numpy()
        return value


def parts_of(bundle: Bundle) -> deque[tuple[TupleKind, object]]:
    """Its inside, to damage it or to weigh it."""
    return bundle._parts


def skip(bundle: Bundle, position: int) -> None:
    del parts_of(bundle)[position]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_run_on_a_bundle_gives_the_bits_and_the_exchanges_of_a_live_one(spec):
    cohort_ = Cohort(spec, engine_type=ExactEngine)
    expected = cohort_.clear()
    for _ in range(2):
        prepared = cohort_.run(drawn(cohort_.plan, cohort_.masked))
        assert (prepared.value.view(np.int64) == expected).all()
        for ahead, live in zip(prepared.sessions, cohort_.live.sessions, strict=True):
            assert ahead.phases == live.phases
            assert ahead.tuples.used == live.tuples.used


def test_answers_of_the_default_engine_come_from_bundles_too():
    spec = FIRST[0]
    rule = Rule(margin=0.999)
    cohort_ = Cohort(spec, lambda engine, p, x: predict(engine, spec, p, x, rule))
    expected = cohort_.clear()
    assert expected.any()
    outcome = cohort_.run(drawn(cohort_.plan, cohort_.masked))
    assert (outcome.value.view(np.int64) == expected).all()


def test_a_bundle_serves_one_run():
    cohort_ = Cohort(FIRST[1])
    bundles = drawn(cohort_.plan, cohort_.masked)
    cohort_.run(bundles)
    assert not any(parts_of(bundle) for bundle in bundles)
    with pytest.raises(TranscriptMismatch):
        cohort_.run(bundles)


def test_bundles_that_are_drawn_in_one_session_serve_a_run_each_and_share_no_mask():
    cohort_ = Cohort(FIRST[1], engine_type=ExactEngine)
    expected, plan = cohort_.clear(), cohort_.plan
    tuples = reference.supply(cohort_.masked, plan=plan * 2)
    drawn_ = [
        [
            Bundle.drawn(each, plan, own.opened, lambda: None, SessionId(bytes([number]) * 16))
            for number in range(2)
        ]
        for each, own in zip(tuples, cohort_.masked, strict=True)
    ]
    seen = [
        words.numpy().tobytes()
        for bundle in (*drawn_[0], *drawn_[1])
        for _, part in parts_of(bundle)
        for words in (part.free if isinstance(part, TupleShares) else part[:1])
    ]
    assert len(set(seen)) == len(seen)
    for pair in zip(*drawn_, strict=True):
        assert (cohort_.run(pair).value.view(np.int64) == expected).all()


def test_another_kind_than_the_prepared_one_is_refused():
    cohort_ = Cohort(FIRST[1])
    bundle, _ = drawn(cohort_.plan, cohort_.masked)
    with pytest.raises(TranscriptMismatch):
        bundle.draw(Square((1, 2, 3)))
    first = cohort_.plan[0]
    assert isinstance(first, FixedProduct)
    with pytest.raises(TranscriptMismatch):
        bundle.draw(first)


def test_a_prepared_tuple_is_not_taken_for_a_fixed_product():
    bundle = Bundle(
        drawn([Square((3,))], fresh_masks())[0].run,
        [(FixedProduct("dense", "w", (1, 2, 2), (1, 1, 2)), TupleShares([], []))],
        0.0,
    )
    weight = FixedWeight(torch.zeros(1, 2, 2), lambda: torch.zeros(1, 2, 2))
    with pytest.raises(TranscriptMismatch):
        bundle.product(FixedProduct("dense", "w", (1, 2, 2), (1, 1, 2)), weight)


@pytest.mark.parametrize("spec", FIRST, ids=lambda spec: spec.name)
@pytest.mark.parametrize("party", [0, 1])
def test_a_part_skipped_at_one_party_ends_without_an_answer_wherever_it_is(spec, party):
    rule = Rule(margin=1.0)
    cohort_ = Cohort(spec, lambda engine, p, x: predict(engine, spec, p, x, rule))
    for position in range(len(cohort_.plan)):
        bundles = drawn(cohort_.plan, cohort_.masked)
        skip(bundles[party], position)
        with pytest.raises(TranscriptMismatch):
            cohort_.run(bundles)


def test_two_halves_of_different_bundles_end_without_an_answer():
    cohort_ = Cohort(FIRST[0])
    (mine, _), (_, theirs) = (drawn(cohort_.plan, cohort_.masked) for _ in range(2))
    with pytest.raises(TranscriptMismatch):
        cohort_.run((mine, theirs))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_size_of_a_bundle_is_what_it_holds(spec):
    cohort_ = Cohort(spec)
    for bundle in drawn(cohort_.plan, cohort_.masked):
        tensors = [
            tensor
            for _, part in parts_of(bundle)
            for tensor in ([*part.free, *part.derived] if isinstance(part, TupleShares) else part)
        ]
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        assert sum(storages.values()) == size_of(cohort_.plan)


def test_a_bundle_does_not_show_its_masks():
    bundle, _ = drawn([Square((3,))], fresh_masks())
    assert repr(bundle).startswith("<") and "tensor" not in repr(bundle)
