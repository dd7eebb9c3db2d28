"""Run the whole protocol in one process: both parties, the dealer, and a queue for the network.

    1.  each secret is split into two shares
    2.  each party runs the program on its shares, with tuples from the dealer or from a bundle
    3.  the parties compare their transcripts, and only then release their shares of the result,
        which are combined

Engine, dealing and program are those of the servers; only the transport differs. Sees all secrets
of both parties: for tests, figures, and attacks on synthetic or public data.
"""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from parties.mpc.bundles import Bundle, Supply
from parties.mpc.crypten_backend.engine import ProgramEngine
from parties.mpc.dealing import Dealer, DealerLink, SessionId, Tuples, new_seed
from parties.mpc.fixed_product import MaskedWeights
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.release import ReleaseKey, new_nonce, release
from parties.mpc.session import Session
from parties.mpc.tuples import TupleKind
from privedge.sharing.combine import combine
from privedge.sharing.ring import Words
from privedge.sharing.split import split
from privedge_lab.reference.recording import (
    NearLink,
    QueueLink,
    Record,
    RecordingSession,
    RecordingTuples,
)

# Called with an engine and this party's shares of all secrets; returns a share.
Program = Callable[..., Any]
# Party 0's share and party 1's, int64.
Shares = tuple[torch.Tensor, torch.Tensor]
# Both parties' masked weights. Several runs on the same weights can share them.
Masked = tuple[MaskedWeights, MaskedWeights]
# Makes a party's link to the dealer, from the session, both seeds, both weight seeds and the party.
Deal = Callable[[SessionId, tuple[bytes, bytes], tuple[bytes, bytes], int], DealerLink]

_MAX_ELEMENTS = 1 << 24


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    shares: party 0's share of the result and party 1's as they are released, int64.
    inner: the same before their release, which only the party itself has.
    views: what each party saw; empty unless the run was recorded.
    """

    shares: Shares = field(repr=False)
    inner: Shares = field(repr=False)
    sessions: tuple[Session, Session]
    views: tuple[Record, Record] = field(repr=False)

    @property
    def value(self) -> Words:
        """The result in the clear, uint64."""
        return combine(as_words(self.shares[0]), as_words(self.shares[1]))


def near_dealer(
    run: SessionId, seeds: tuple[bytes, bytes], weight_seeds: tuple[bytes, bytes], party: int
) -> DealerLink:
    """Link one party to a dealer in this process."""
    return NearLink(Dealer(run, seeds, weight_seeds, max_elements=_MAX_ELEMENTS), party)


def run(
    program: Program,
    *secrets: Words | Shares,
    masked: Masked | None = None,
    bundles: Sequence[Supply] | None = None,
    dealer: Deal = near_dealer,
    record: bool = False,
    engine: Callable[[Session, MaskedWeights], ProgramEngine] = FusedEngine,
) -> Outcome:
    """Run `program(engine, *shares)` at both parties, each with an engine made by `engine`.

    secrets: uint64 arrays, which are split here, or pairs of int64 shares.
    masked: from `fresh_masks`, for several runs on the same weights.
    bundles: from `draw`, to replace the dealer.
    record: whether to record what each party sees.

    Raises the error of party 0, or else of party 1.
    """
    masked = masked or fresh_masks()
    shares = [secret if isinstance(secret, tuple) else _split(secret) for secret in secrets]
    supplies = bundles or supply(masked, dealer, record=record)
    peers = QueueLink.pair()
    sessions = _sessions(peers, supplies, RecordingSession if record else Session)
    results: list[Shares | BaseException] = [RuntimeError("no answer")] * 2

    def party(index: int) -> None:
        mine = engine(sessions[index], masked[index])
        try:
            answer = program(mine, *(mine.share(share[index]) for share in shares))
            sessions[index].confirm()
            results[index] = answer.share, release(sessions[index], answer.share, "answer")
        except BaseException as error:  # raised below, in the caller's thread
            results[index] = error
            peers[index].hang_up()
        finally:
            mine.close()

    other = threading.Thread(target=party, args=(1,))
    other.start()
    party(0)
    other.join()
    first, second = results
    if isinstance(first, BaseException):
        raise first
    if isinstance(second, BaseException):
        raise second
    seen = _seen(sessions[0]), _seen(sessions[1])
    return Outcome((first[1], second[1]), (first[0], second[0]), sessions, seen)


def fresh_masks() -> Masked:
    """Make both parties' masked weights for a snapshot whose weights were not opened yet."""
    return MaskedWeights.fresh(b""), MaskedWeights.fresh(b"")


def supply(
    masked: Masked,
    dealer: Deal = near_dealer,
    plan: list[TupleKind] | None = None,
    *,
    record: bool = False,
) -> tuple[Tuples, Tuples]:
    """Open one session with the dealer, and return both parties' tuples.

    With a `plan`, all its tuples are requested at once.
    """
    session, seeds = SessionId(os.urandom(16)), (new_seed(), new_seed())
    weight_seeds = masked[0].seed, masked[1].seed
    kind = RecordingTuples if record else Tuples
    first, second = (
        kind(party, session, seeds[party], dealer(session, seeds, weight_seeds, party), plan)
        for party in (0, 1)
    )
    return first, second


def draw(
    plan: list[TupleKind], masked: Masked, dealer: Deal = near_dealer
) -> tuple[Bundle, Bundle]:
    """Draw both parties' shares of a bundle, for masked weights that a run has opened."""
    tuples = supply(masked, dealer, plan)
    first, second = (
        Bundle.drawn(tuples[party], plan, masked[party].opened, lambda: None) for party in (0, 1)
    )
    return first, second


def as_tensor(words: Words) -> torch.Tensor:
    """Return a copy with the same bits as an int64 tensor."""
    return torch.from_numpy(words.view(np.int64).copy())


def as_words(tensor: torch.Tensor) -> Words:
    """Return the same bits as a uint64 array."""
    words: Words = tensor.contiguous().numpy().view(np.uint64)
    return words


def _sessions(
    peers: tuple[QueueLink, QueueLink], supplies: Sequence[Supply], kind: type[Session]
) -> tuple[Session, Session]:
    """One run at both parties, under a release key that they alone have."""
    nonces, run = (new_nonce(), new_nonce()), os.urandom(16)
    first, second = (
        kind(party, peers[party], supplies[party], ReleaseKey(nonces, run)) for party in (0, 1)
    )
    return first, second


def _split(secret: Words) -> Shares:
    first, second = split(secret)
    return as_tensor(first), as_tensor(second)


def _seen(session: Session) -> Record:
    return session.record if isinstance(session, RecordingSession) else Record()
