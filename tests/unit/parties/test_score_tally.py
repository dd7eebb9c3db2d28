"""Two workers count scores and open sums: only with noise, only of enough, and never twice."""

import json
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from parties.config.telemetry import FOLDER, TelemetrySection
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.network import Distances
from parties.mpc.predict import Rule
from parties.worker import score_tally
from parties.worker.score_tally import ScoreTally
from parties.worker.snapshot_cache import Snapshot
from parties.worker.task import Method, Task
from privedge.sharing.ring import WORD_BYTES
from tests.chance import SIGMAS
from tests.unit.mpc.models import SPECS
from tests.unit.mpc.pair import Outcome, as_words, run

SPEC = next(spec for spec in SPECS if spec.name == "subspace")
SETTINGS = TelemetrySection(bins=4, min_queries=6, answers_per_client=2, period_s=100)
# Scores .1, .3 and .9: bins 0, 1 and 3.
DISTANCES = np.array([[1 << 32, 10 << 32], [3 << 32, 10 << 32], [10 << 32, 9 << 32]])


def task(settings: TelemetrySection | None = SETTINGS, counted=(True,) * 3, period=0) -> Task:
    snapshot = Snapshot("s", "faces", SPEC, 1.0, 0.0, (), telemetry=settings)
    shape, method = (3, *SPEC.input_shape), Method("fused", "one-unit")
    return Task(snapshot, shape, Rule(1.0), method, counted, period)


class Workers:
    """Both parties' tallies, in folders of their own, and their clocks."""

    def __init__(self, folder: Path) -> None:
        self.now = [0.0, 0.0]
        self.states = [folder / "0", folder / "1"]
        for state in self.states:
            state.mkdir()
        self.tallies = [self.fresh(0), self.fresh(1)]
        self.runs = 0

    def fresh(self, party: int) -> ScoreTally:
        return ScoreTally(self.states[party], lambda: self.now[party])

    def count(
        self, counted=(True,) * 3, settings=SETTINGS, other=None, distances=DISTANCES, charged=None
    ) -> Outcome:
        """One run; `other`: what party 1 counts, if not the same. `charged`: the period whose
        quotas were, if not the present one.
        """
        self.runs += 1
        session = self.runs.to_bytes(16, "big")

        def program(engine, x):
            party = engine.session.party
            present = int(self.now[party] // SETTINGS.period_s)
            period = present if charged is None else charged
            mine = task(settings, other if party and other is not None else counted, period)
            self.tallies[party].add(engine.session, session, mine, engine, Distances(x))
            return x

        return run(program, as_words(torch.from_numpy(distances)), engine_type=FusedEngine)

    def lines(self, party: int) -> list[dict]:
        file = self.states[party] / FOLDER / "faces.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def workers(tmp_path) -> Workers:
    return Workers(tmp_path)


@pytest.fixture
def no_noise(monkeypatch) -> None:
    monkeypatch.setattr(score_tally, "discrete_laplace", lambda _: 0)


def test_the_sum_of_a_period_that_is_over_is_opened_at_both(workers, no_noise):
    workers.count()
    workers.count()
    assert workers.lines(0) == []
    workers.now = [100.0, 100.0]
    workers.count()
    (line,) = workers.lines(0)
    assert workers.lines(1) == [line]
    assert line["counts"] == [2, 2, 0, 2] and line["answers"] == 6
    assert line["from"] == "1970-01-01T00:00:00+00:00"
    file = workers.states[0] / FOLDER / "faces.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_of_too_few_answers_nothing_is_opened(workers, no_noise):
    workers.count()
    workers.now = [100.0, 100.0]
    workers.count()
    workers.now = [200.0, 200.0]
    workers.count()  # three of each period, though six together
    assert workers.lines(0) == workers.lines(1) == []


def test_an_answer_counts_if_both_parties_count_it(workers, no_noise):
    for _ in range(6):
        workers.count(counted=(True, True, False), other=(True, False, True))
    workers.now = [100.0, 100.0]
    workers.count()
    assert [line["counts"] for line in workers.lines(1)] == [[6, 0, 0, 0]]


def test_a_run_that_lasts_into_the_next_period_does_not_count_there(workers, no_noise):
    workers.count()
    workers.now = [100.0, 100.0]
    workers.count(charged=0)
    workers.count()
    workers.count()
    workers.now = [200.0, 200.0]
    workers.count(charged=1)
    assert [line["answers"] for line in workers.lines(0)] == [6]


def test_a_rehearsal_counts_nothing(workers, no_noise):
    for _ in range(3):
        workers.count(counted=())
    workers.now = [100.0, 100.0]
    workers.count()
    assert workers.lines(0) == []


@pytest.mark.parametrize("party", [0, 1])
def test_a_restart_loses_what_was_counted_at_both(workers, no_noise, party):
    workers.count()
    workers.count()
    workers.tallies[party] = workers.fresh(party)
    workers.count()  # found to differ: both begin anew after it
    workers.count()
    workers.count()
    workers.now = [100.0, 100.0]
    workers.count()
    assert [line["answers"] for line in workers.lines(0)] == [6]
    assert [line["counts"] for line in workers.lines(1)] == [[2, 2, 0, 2]]


def test_while_the_clocks_differ_nothing_is_counted_or_opened(workers, no_noise):
    workers.count()
    workers.count()
    workers.now = [100.0, 99.0]
    workers.count()
    assert workers.lines(0) == []
    workers.now = [100.0, 100.0]
    workers.count()
    assert [line["answers"] for line in workers.lines(0)] == [6]


def test_a_run_that_fails_takes_the_sum_with_it_so_it_is_never_opened_twice(
    workers, no_noise, monkeypatch
):
    workers.count()
    workers.count()
    workers.now = [100.0, 100.0]
    with monkeypatch.context() as broken:
        broken.setattr(score_tally, "sorted_into", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            workers.count()
    assert len(workers.lines(0)) == 1
    workers.count()
    assert len(workers.lines(0)) == len(workers.lines(1)) == 1


def test_without_telemetry_or_with_one_owner_no_word_is_exchanged(workers):
    for outcome in (workers.count(settings=None), workers.count(distances=DISTANCES[:, :1])):
        assert sum(part.numel() for part in outcome.views[0].sent) == 0


def test_an_opened_sum_has_the_noise_of_both_parties(workers):
    """So what is left when a curious party takes off its own is the other one's whole noise."""
    for period in range(41):
        workers.now = [period * 100.0] * 2
        workers.count()
        workers.count()
    noise = [
        counted - true
        for line in workers.lines(0)
        for counted, true in zip(line["counts"], [2, 2, 0, 2], strict=True)
    ]
    assert len(noise) == 40 * 4
    # Two draws of scale 2 * answers_per_client / epsilon = 4 have a variance of 2 * 2 * 4^2.
    variance = 64.0
    assert abs(sum(noise)) < SIGMAS * np.sqrt(len(noise) * variance)
    # The square of such a sum has a variance of 3.5 * 64^2.
    spread = np.sqrt(3.5 * variance**2 / len(noise))
    assert abs(sum(x * x for x in noise) / len(noise) - variance) < SIGMAS * spread


@pytest.mark.parametrize("party", [0, 1])
def test_what_a_party_receives_of_a_sum_is_uniform(workers, party):
    """The share that comes is not near the sum: it is a share, and has noise."""
    workers.count()
    workers.count()
    workers.now = [100.0, 100.0]
    view = workers.count().views[party]
    head, opened = as_words(view.received[0]), as_words(view.received[1])
    assert head.tolist()[5:] == [1, 1, 1]  # which answers count is said in the clear
    assert opened.size == 4 and opened.nbytes == 4 * WORD_BYTES
    far = np.minimum(opened, -opened)
    assert (far > 1 << 40).all()
