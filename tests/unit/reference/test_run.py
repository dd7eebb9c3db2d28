"""One run of the protocol in one process: right, and recorded only on request."""

import numpy as np
import pytest

from parties.mpc.crypten_backend.engine import CryptenEngine
from privedge.errors import ShareError, TranscriptMismatch
from privedge.sharing.fixed_point import encode
from privedge.sharing.ring import Words
from privedge.sharing.split import split
from privedge_lab.reference.run import as_tensor, draw, fresh_masks, run, supply

SECRET = encode(np.linspace(-2, 2, 7, dtype=np.float32).reshape(1, 7))


def squared(engine, x):
    return engine.square(x)


def plain(secret: Words) -> Words:
    return secret * secret


@pytest.mark.parametrize("record", [False, True])
def test_a_run_gives_what_the_clear_computation_gives(record):
    outcome = run(squared, SECRET, record=record)
    assert np.array_equal(outcome.value, plain(SECRET))
    assert [session.rounds for session in outcome.sessions] == [1, 1]


def test_nothing_is_recorded_unless_it_is_asked_for():
    for view in run(squared, SECRET).views:
        assert (view.seed, view.tuples, view.sent, view.received) == (b"", [], [], [])
    first, second = run(squared, SECRET, record=True).views
    assert len(first.seed) == len(second.seed) == 32 and first.seed != second.seed
    assert first.tuples and first.sent and not (first.sent[0] == second.sent[0]).all()


def test_a_secret_may_come_as_shares():
    shares = tuple(as_tensor(share) for share in split(SECRET))
    assert np.array_equal(run(squared, shares).value, plain(SECRET))


def test_a_bundle_and_a_plan_serve_a_run_as_the_dealer_does():
    masked = fresh_masks()
    plan = run(squared, SECRET, masked=masked).sessions[0].tuples.used
    for supplies in (draw(plan, masked), supply(masked, plan=plan)):
        outcome = run(squared, SECRET, masked=masked, bundles=supplies)
        assert np.array_equal(outcome.value, plain(SECRET))


def test_another_engine_may_be_handed_in():
    outcome = run(squared, SECRET, engine=lambda session, _: CryptenEngine(session))
    assert np.array_equal(outcome.value, plain(SECRET))


# When party 1 fails, party 0 finds that it has heard nothing.
@pytest.mark.parametrize(("party", "error"), [(0, ShareError), (1, TranscriptMismatch)])
def test_a_party_that_fails_ends_the_run_at_both(party, error):
    def program(engine, x):
        if engine.party == party:
            raise ShareError("this party fails")
        return engine.square(x)

    with pytest.raises(error):
        run(program, SECRET)
