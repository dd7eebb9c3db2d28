"""Two parties and a dealer in one process: real engine, real dealer, links that remember.

What each party could write down is kept in its `View`, so that tests can play a curious party.
"""

import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from parties.tuple_codec import from_wire, to_wire
from privedge.mpc.bundles import Bundle, Supply
from privedge.mpc.crypten_backend.engine import CryptenEngine
from privedge.mpc.dealing import Dealer, SessionId, Tuples, TupleShares, new_seed
from privedge.mpc.fixed_product import MaskedWeights
from privedge.mpc.fused.engine import FusedEngine
from privedge.mpc.session import Session
from privedge.mpc.tuples import TupleKind
from privedge.sharing.combine import combine
from privedge.sharing.ring import Words
from privedge.sharing.split import split

TIMEOUT_S = 60


@dataclass
class View:
    """All that one party sees beyond its inputs: its share of every tuple, every exchange."""

    tuples: list[tuple[TupleKind, TupleShares]] = field(default_factory=list)
    sent: list[torch.Tensor] = field(default_factory=list)
    received: list[torch.Tensor] = field(default_factory=list)

    @property
    def opened(self) -> list[torch.Tensor]:
        """What additive openings open to."""
        return [mine + theirs for mine, theirs in zip(self.sent, self.received, strict=True)]


class QueueLink:
    """mpc.session.PeerLink within a process."""

    def __init__(self, out: "queue.Queue[bytes]", back: "queue.Queue[bytes]") -> None:
        self._out, self._back = out, back

    def exchange(self, payload: memoryview) -> bytearray:
        self._out.put(bytes(payload))
        return bytearray(self._back.get(timeout=TIMEOUT_S))

    def hang_up(self) -> None:
        """The other side waits no longer; what it gets next is empty."""
        self._out.put(b"")


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


class WatchedTuples(Tuples):
    """Tuples that are also written down."""

    view: View

    def draw(self, kind: TupleKind) -> TupleShares:
        shares = super().draw(kind)
        self.view.tuples.append((kind, shares))
        return shares


class WatchedSession(Session):
    """A session whose exchanges are also written down."""

    view: View

    def exchange(self, mine: torch.Tensor) -> torch.Tensor:
        theirs = super().exchange(mine)
        self.view.sent.append(mine.clone())
        self.view.received.append(theirs.clone())
        return theirs


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
    return Outcome(combine(*results), (sessions[0].view, sessions[1].view), sessions)


def fresh_masks() -> Masked:
    """Both parties' side of a snapshot whose weights were not opened yet."""
    return MaskedWeights.fresh(b""), MaskedWeights.fresh(b"")


def drawn(plan: list[TupleKind], masked: Masked) -> tuple[Bundle, Bundle]:
    """Both halves of a bundle, made under the masks of weights that a run has opened."""
    run_id, seeds = SessionId(os.urandom(16), 0), (new_seed(), new_seed())
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
) -> "tuple[tuple[WatchedSession, WatchedSession], tuple[QueueLink, QueueLink]]":
    run_id, seeds = SessionId(os.urandom(16), 0), (new_seed(), new_seed())
    pipes: tuple[queue.Queue[bytes], queue.Queue[bytes]] = (queue.Queue(), queue.Queue())

    def session(index: int) -> tuple[WatchedSession, QueueLink]:
        view = View()
        link = QueueLink(pipes[index], pipes[1 - index])
        supply: Supply
        if bundles is None:
            dealer = NearDealer(_dealer(run_id, seeds, masked), index)
            supply = tuples = WatchedTuples(index, run_id, seeds[index], dealer, plan)
            tuples.view = view
        else:
            supply = bundles[index]
        watched = WatchedSession(index, link, supply)
        watched.view = view
        return watched, link

    (first, here), (second, there) = session(0), session(1)
    return (first, second), (here, there)


def _dealer(run_id: SessionId, seeds: tuple[bytes, bytes], masked: Masked) -> Dealer:
    return Dealer(run_id, seeds, (masked[0].seed, masked[1].seed), max_elements=1 << 24)


def as_tensor(words: Words) -> torch.Tensor:
    """The same bits as int64."""
    return torch.from_numpy(words.view(np.int64).copy())


def as_words(tensor: torch.Tensor) -> Words:
    """The same bits as uint64."""
    words: Words = tensor.contiguous().numpy().view(np.uint64)
    return words
