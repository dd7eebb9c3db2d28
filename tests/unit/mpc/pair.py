"""Two parties and a dealer in one process: real engine, real dealer, links that remember.

What each party could write down is kept in its `View`, so that tests can play a curious party.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from parties.tuple_codec import from_wire, to_wire
from privedge.mpc.bundles import Bundle, Supply
from privedge.mpc.crypten_backend.engine import CryptenEngine
from privedge.mpc.dealing import Dealer, SessionId, Tuples, new_seed
from privedge.mpc.fixed_product import MaskedWeights
from privedge.mpc.fused.engine import FusedEngine
from privedge.mpc.session import Session
from privedge.mpc.tuples import TupleKind
from privedge.reference.recording import QueueLink, RecordingSession, RecordingTuples
from privedge.reference.recording import Record as View
from privedge.sharing.combine import combine
from privedge.sharing.ring import Words
from privedge.sharing.split import split

TIMEOUT_S = 60


class NearDealer:
    """mpc.dealing.DealerLink to a dealer in the same process."""

    def __init__(self, dealer: Dealer, party: int) -> None:
        self._dealer, self._party = dealer, party
        self._wanted: list[tuple[int, TupleKind]] = []

    def request(self, tuples: list[tuple[int, TupleKind]]) -> None:
        # As on the wire, whose limits every request must keep.
        self._wanted += [(at, from_wire(to_wire(at, kind))) for at, kind in tuples]

    def receive(self, counter: int) -> torch.Tensor:
        asked, kind = self._wanted.pop(0)
        assert asked == counter
        return self._dealer.correct(self._party, counter, kind)


@dataclass
class Outcome:
    """What a run opened to, and what each party saw and counted."""

    value: Words
    views: tuple[View, View]
    sessions: tuple[Session, Session]


Program = Callable[..., Any]
# Both parties'.
Masked = tuple[MaskedWeights, MaskedWeights]


def run(
    program: Program,
    *secrets: Words,
    plan: list[TupleKind] | None = None,
    engine_type: type[CryptenEngine] = CryptenEngine,
    masked: Masked | None = None,
    bundles: tuple[Bundle, Bundle] | None = None,
) -> Outcome:
    """Run `program(engine, *shares)` at both parties and open what it returns.

    `masked`: from `fresh_masks`, for several runs on the same weights. `bundles`: from `drawn`,
    instead of a dealer. Raises what party 0, or else party 1, raised.
    """
    masked = masked or fresh_masks()
    sessions, links = _sessions(plan, masked, bundles)
    halves = [split(secret) for secret in secrets]
    results: list[Any] = [None, None]

    def party(index: int) -> None:
        engine = _engine(engine_type, sessions[index], masked[index])
        try:
            answer = program(engine, *(engine.share(as_tensor(half[index])) for half in halves))
            sessions[index].confirm()
            results[index] = as_words(answer.share)
        except BaseException as error:  # handed to the test below
            results[index] = error
            links[index].hang_up()
        finally:
            engine.close()

    threads = [threading.Thread(target=party, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return Outcome(combine(*results), (sessions[0].record, sessions[1].record), sessions)


def fresh_masks() -> Masked:
    """Both parties' side of a snapshot whose weights were not opened yet."""
    return MaskedWeights.fresh(b""), MaskedWeights.fresh(b"")


def drawn(plan: list[TupleKind], masked: Masked) -> tuple[Bundle, Bundle]:
    """Both halves of a bundle, made under the masks of weights that a run has opened."""
    run_id, seeds = SessionId(os.urandom(16)), (new_seed(), new_seed())
    dealers = [_dealer(run_id, seeds, masked) for _ in (0, 1)]
    first, second = (
        Bundle.drawn(
            Tuples(index, run_id, seeds[index], NearDealer(dealers[index], index), plan),
            plan,
            masked[index].opened,
            lambda: None,
        )
        for index in (0, 1)
    )
    return first, second


def _engine(kind: type[CryptenEngine], session: Session, masked: MaskedWeights) -> CryptenEngine:
    if issubclass(kind, FusedEngine):
        return kind(session, masked)
    return kind(session)


def _sessions(
    plan: list[TupleKind] | None, masked: Masked, bundles: tuple[Bundle, Bundle] | None
) -> tuple[tuple[RecordingSession, RecordingSession], tuple[QueueLink, QueueLink]]:
    run_id, seeds = SessionId(os.urandom(16)), (new_seed(), new_seed())
    links = QueueLink.pair()

    def session(index: int) -> RecordingSession:
        supply: Supply
        if bundles is None:
            dealer = NearDealer(_dealer(run_id, seeds, masked), index)
            supply = RecordingTuples(index, run_id, seeds[index], dealer, plan)
        else:
            supply = bundles[index]
        return RecordingSession(index, links[index], supply)

    return (session(0), session(1)), links


def _dealer(run_id: SessionId, seeds: tuple[bytes, bytes], masked: Masked) -> Dealer:
    return Dealer(run_id, seeds, (masked[0].seed, masked[1].seed), max_elements=1 << 24)


def as_tensor(words: Words) -> torch.Tensor:
    """The same bits as int64."""
    return torch.from_numpy(words.view(np.int64).copy())


def as_words(tensor: torch.Tensor) -> Words:
    """The same bits as uint64."""
    words: Words = tensor.contiguous().numpy().view(np.uint64)
    return words
