"""A RAN written in CrypTen's operations is the fused engine's protocol: tuple by tuple."""

import threading
from copy import deepcopy

import numpy as np
import pytest
import torch

from parties.mpc.bundles import Bundle
from parties.mpc.crypten_backend.program_engine import ProgramEngine
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.predict import Rule, predict
from parties.mpc.release import ReleaseKey
from parties.mpc.session import Session
from privedge.ran.presets import PRESETS, preset
from privedge.sharing.split import split
from privedge_lab.reference import run as reference
from tests.unit.mpc.models import SPECS, batch, cohort
from tests.unit.mpc.pair import as_tensor, fresh_masks

SIZES = {"subspace-writer": (64, 128), "subspace-writer-fine": (64, 128)}
ENGINES = {"fused": FusedEngine, "program": ProgramEngine}
RULES = {"margin": Rule(margin=0.9), "mean": Rule(margin=0.9, mean_share=0.5)}


def asked(spec, owners: int, engine, masked, rule: Rule):
    parameters, images = cohort(spec, owners), batch(spec, 2)
    names = list(parameters)

    def program(engine, x, *stacked):
        return predict(engine, spec, dict(zip(names, stacked, strict=True)), x, rule)

    outcome = reference.run(
        program,
        images,
        *parameters.values(),
        masked=masked,
        engine=lambda session, mine: engine(session, mine),
    )
    session = outcome.sessions[0]
    return outcome.value, session.tuples.used, session.phases


def both(spec, owners: int, rule: Rule, *, queries: int) -> None:
    """The first query on some weights, which opens them, and others."""
    kept = {name: fresh_masks() for name in ENGINES}
    for _ in range(queries):
        fused, program = (
            asked(spec, owners, engine, kept[name], rule) for name, engine in ENGINES.items()
        )
        assert program[1:] == fused[1:]
        assert (program[0] == fused[0]).all()
        assert np.isin(program[0], (0, 1)).all()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_small_specs_with_a_group_too_many(spec, rule):
    both(spec, 17, RULES[rule], queries=2)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset(name):
    height, width = SIZES.get(name, (64, 64) if "64" in name else (32, 32))
    both(preset(name, height=height, width=width, channels=1), 2, RULES["margin"], queries=1)


# --- The same bundle gives the same words ---------------------------------------------------------


class Recorded:
    """Party 0's end of a link, which keeps both payloads of every exchange."""

    def __init__(self, link: reference.QueueLink) -> None:
        self._link = link
        self.exchanged: list[tuple[bytes, bytes]] = []

    def exchange(self, payload: bytes) -> bytearray:
        theirs = self._link.exchange(payload)
        self.exchanged.append((bytes(payload), bytes(theirs)))
        return theirs


class Replayed:
    """Answers as the other party did, if it is asked as it was asked."""

    def __init__(self, exchanged: list[tuple[bytes, bytes]]) -> None:
        self._left = list(exchanged)

    def exchange(self, payload: bytes) -> bytearray:
        mine, theirs = self._left.pop(0)
        assert payload == mine
        return bytearray(theirs)

    @property
    def done(self) -> bool:
        return not self._left


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_word_that_leaves_is_the_same(spec):
    parameters, images = cohort(spec, 3), batch(spec, 2)
    shares = [split(words) for words in (images, *parameters.values())]
    masked, names = fresh_masks(), list(parameters)

    def answer(engine, party: int) -> torch.Tensor:
        x, *stacked = (engine.share(as_tensor(pair[party])) for pair in shares)
        row = predict(engine, spec, dict(zip(names, stacked, strict=True)), x, RULES["margin"])
        engine.close()
        return row.share

    def asking(engine, *_):
        return engine.share(answer(FusedEngine(engine._session, engine._masked), engine._party))

    # The second query on some weights has a plan; both halves of its bundle, and a copy of party
    # 0's, whose masks are used again for nobody's data.
    plans = [reference.run(asking, masked=masked).sessions[0].tuples.used for _ in range(2)]
    mine, theirs = reference.draw(plans[1], masked)
    parts = deepcopy(mine.parts)
    first, second = reference.QueueLink.pair()
    link, key = Recorded(first), ReleaseKey((bytes(32), bytes(32)), bytes(16))
    other = threading.Thread(
        target=lambda: answer(FusedEngine(Session(1, second, theirs, key), masked[1]), 1)
    )
    other.start()
    fused = answer(FusedEngine(Session(0, link, mine, key), masked[0]), 0)
    other.join()
    replay = Replayed(link.exchanged)
    again = Session(0, replay, Bundle(mine.run, parts, 0.0), key)
    program = answer(ProgramEngine(again, masked[0]), 0)
    assert replay.done and torch.equal(program, fused)
