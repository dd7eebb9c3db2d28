"""Run CrypTen programs at two parties in one process, and say what they cost."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from parties.mpc.crypten_backend.load import crypten
from parties.mpc.crypten_backend.programs import program
from parties.mpc.release import ReleaseKey, new_nonce
from parties.mpc.session import Session
from privedge.sharing.fixed_point import SCALE
from privedge_lab.reference import run as reference
from privedge_lab.reference.recording import Record, RecordingSession
from tests.unit.mpc.pair import QueueLink, fresh_masks, wire_dealer

UNIT = 1 / SCALE


@dataclass(frozen=True)
class Ran:
    """What a program returned at both parties, and what it took."""

    value: Any
    other: Any
    sessions: tuple[Session, Session]

    @property
    def rounds(self) -> int:
        return self.sessions[0].rounds

    @property
    def bytes_sent(self) -> int:
        """Without the digest of each exchange."""
        return self.sessions[0].bytes_sent - 16 * self.rounds

    @property
    def views(self) -> tuple[Record, Record]:
        first, second = self.sessions
        return first.record, second.record


def run(
    written: Callable[..., Any],
    *inputs: torch.Tensor,
    masked: reference.Masked | None = None,
    exact: bool = False,
    supplies: Any = None,
) -> Ran:
    """Run `written(*tensors)` at both parties: each input is encrypted by party 0."""
    masked = masked or fresh_masks()
    supplies = supplies or reference.supply(masked, wire_dealer, record=True)
    peers, nonces = QueueLink.pair(), (new_nonce(), new_nonce())
    ended: list[Any] = [None, None]
    sessions = [
        RecordingSession(at, peers[at], supplies[at], ReleaseKey(nonces, bytes(16)))
        for at in (0, 1)
    ]

    def half(party: int) -> None:
        try:
            with program(sessions[party], masked[party], exact=exact), crypten.no_grad():
                ended[party] = written(*(crypten.cryptensor(each, src=0) for each in inputs))
        except BaseException as error:  # raised below, in the caller's thread
            ended[party] = error
            peers[party].hang_up()

    other = threading.Thread(target=half, args=(1,))
    other.start()
    half(0)
    other.join()
    for each in ended:
        if isinstance(each, BaseException):
            raise each
    return Ran(ended[0], ended[1], (sessions[0], sessions[1]))


def opened(written: Callable[..., Any], *inputs: torch.Tensor, **options: Any) -> torch.Tensor:
    """What the program's result opens to at party 0."""
    ran = run(lambda *tensors: written(*tensors).get_plain_text(), *inputs, **options)
    assert torch.equal(ran.value, ran.other)
    return ran.value
