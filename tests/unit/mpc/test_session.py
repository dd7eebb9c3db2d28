"""Sessions count what they send in each phase, and detect in the next exchange if runs differ."""

import os
import queue
import threading
from collections.abc import Callable

import pytest
import torch

from parties.mpc.dealing import Dealer, SessionId, Tuples, new_seed
from parties.mpc.release import ReleaseKey, new_nonce
from parties.mpc.session import Session
from parties.mpc.tuples import Square
from privedge.errors import TranscriptMismatch
from privedge.sharing.cost import Phase
from tests.unit.mpc.pair import TIMEOUT_S, QueueLink, WireLink

DIGEST_BYTES = 16


def sessions(runs: tuple[SessionId, SessionId] | None = None) -> list[Session]:
    """Both parties' sessions, of one run unless told."""
    one = SessionId(os.urandom(16))
    seeds, pipes = (new_seed(), new_seed()), (queue.Queue(), queue.Queue())
    nonces, made = (new_nonce(), new_nonce()), []
    for party, run in enumerate(runs or (one, one)):
        dealer = Dealer(run, seeds, max_elements=100)
        tuples = Tuples(party, run, seeds[party], WireLink(dealer, party))
        link = QueueLink(pipes[party], pipes[1 - party])
        made.append(Session(party, link, tuples, ReleaseKey(nonces, one.session)))
    return made


def both(pair: list[Session], *programs: Callable[[Session], object]) -> list[object]:
    """What each party's program returned or raised."""
    results: list[object] = [None, None]

    def one(party: int) -> None:
        try:
            results[party] = programs[party % len(programs)](pair[party])
        except TranscriptMismatch as error:
            results[party] = error

    threads = [threading.Thread(target=one, args=(party,)) for party in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    return results


def words(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int64)


def test_each_party_gets_the_words_of_the_other():
    pair = sessions()
    theirs = both(pair, lambda session: session.exchange(words(session.party, 7, -5)).tolist())
    assert theirs == [[1, 7, -5], [0, 7, -5]]


def test_rounds_and_bytes_are_counted_by_phase_in_order():
    def program(session: Session) -> object:
        session.exchange(words(1, 2))
        with session.phase("decision"):
            session.exchange(words(3))
            with session.phase("weights"):
                session.exchange(words(4))
        session.exchange(words(5))
        return session.phases

    pair = sessions()
    assert both(pair, program)[0] == (
        Phase("network", 2, 8 * 3 + 2 * DIGEST_BYTES),
        Phase("decision", 1, 8 + DIGEST_BYTES),
        Phase("weights", 1, 8 + DIGEST_BYTES),
    )
    assert (pair[0].rounds, pair[0].bytes_sent) == (4, 8 * 5 + 4 * DIGEST_BYTES)


def test_confirming_what_the_last_exchange_compared_takes_no_round():
    def program(session: Session) -> object:
        session.tuples.draw(Square((2,)))
        session.exchange(words(1))
        session.confirm()
        return session.rounds

    assert both(sessions(), program) == [1, 1]


def test_confirming_tuples_that_no_exchange_compared_takes_one():
    def program(session: Session) -> object:
        session.exchange(words(1))
        session.tuples.draw(Square((2,)))
        session.confirm()
        return session.rounds

    assert both(sessions(), program) == [2, 2]


@pytest.mark.parametrize(
    ("first", "second"), [([Square((2,))], []), ([Square((2,))], [Square((3,))])]
)
def test_parties_that_drew_different_tuples_find_out_with_the_next_exchange(first, second):
    def drawing(kinds):
        def program(session: Session) -> object:
            for kind in kinds:
                session.tuples.draw(kind)
            return session.exchange(words(1)).tolist()

        return program

    results = both(sessions(), drawing(first), drawing(second))
    assert [type(result) for result in results] == [TranscriptMismatch] * 2


def test_parties_in_different_runs_find_out_with_the_first_exchange():
    runs = SessionId(os.urandom(16)), SessionId(os.urandom(16))
    results = both(sessions(runs), lambda session: session.exchange(words(1)))
    assert [type(result) for result in results] == [TranscriptMismatch] * 2


def test_parties_that_send_different_amounts_find_out():
    results = both(sessions(), lambda session: session.exchange(words(*[1] * (1 + session.party))))
    assert [type(result) for result in results] == [TranscriptMismatch] * 2


@pytest.mark.parametrize("damaged", [0, 1])
def test_a_word_that_changed_on_the_way_is_found_with_the_next_exchange(damaged):
    pair = sessions()
    link = pair[damaged]._link
    honest = link.exchange
    damage = [1, 0]

    def flips_a_bit_once(payload: memoryview) -> bytearray:
        received = honest(payload)
        received[3] ^= damage.pop(0)
        return received

    link.exchange = flips_a_bit_once  # type: ignore[method-assign]

    def program(session: Session) -> object:
        session.exchange(words(1, 2))
        return session.exchange(words(3))

    results = both(pair, program)
    assert [type(result) for result in results] == [TranscriptMismatch] * 2
