"""Whether the other party works on the state that this one knows: same deployment, no older epoch.

Each party says its `Said` in every hello and with every list of models. What it has heard is in its
registry, so it survives restarts of either party. Sees public facts only.
"""

import logging
import os
import re
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from parties.party.models.folder_identity import new_id
from parties.party.models.registry import Epochs, Registry
from privedge.errors import DiskFull, TermsDiffer, Unreachable

log = logging.getLogger(__name__)

_DIGITS = 8


class _Record(Protocol):
    """Registry.note or Registry.hear."""

    def __call__(self, *, deployment: str, peer: int) -> None: ...


@dataclass(frozen=True)
class Said:
    """What one party says of its state.

    deployment: drawn by party 1 when the parties first meet; empty before.
    epoch: of its registry.
    seen: the highest epoch of the other party that it knows of.
    process: the process that speaks, for people and to tell two apart.
    leader: said by party 1: the process of party 0 that it follows now; empty if there is none.
    """

    deployment: str = ""
    epoch: int = 0
    seen: int = 0
    process: str = ""
    leader: str = ""


@cache
def this_process() -> str:
    """A name of this process: machine, process id, and some random digits."""
    machine = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:32]
    return f"p-{machine}.{os.getpid()}.{secrets.token_hex(4)}"


class Standing:
    """What one party holds against the state of the other. Safe to call from several threads."""

    def __init__(self, registry: Registry, party: int, process: str | None = None) -> None:
        self.process = process or this_process()
        self._registry = registry
        self._party = party
        self._lock = threading.Lock()
        # Of party 0, as party 1 sees it: the process that watches, and how many of its watches run.
        self._leader = ""
        self._watches = 0

    @property
    def mine(self) -> Said:
        """What this party says."""
        known = self._registry.epochs
        return Said(known.deployment, known.own, known.peer, self.process, self._leader)

    def hear(self, said: Said | None, *, lasting: bool = True) -> tuple[str, ...]:
        """What keeps the parties from working together, as lines for both operators; none if
        nothing does. None was said by a release that knows no epochs.

        Remembers a higher epoch, and takes over a deployment. That is on disk at once, or if it
        need not be `lasting`, with the next change of a model.
        """
        with self._lock:
            return self._hear(said, self._registry.note if lasting else self._registry.hear)

    def require(self, said: Said | None) -> None:
        """Party 1, before it follows party 0. Raises TermsDiffer."""
        lines = self.hear(said, lasting=False)
        if said is not None and self.is_second(said):
            lines = (*lines, second_line(self._leader))
        if lines:
            raise TermsDiffer("; ".join(lines))

    def is_second(self, said: Said) -> bool:
        """Whether another process of party 0 is at work already."""
        return self._leader not in ("", said.process)

    @property
    def is_watched(self) -> bool:
        """Party 1: whether it follows a process of party 0 now."""
        return self._watches > 0

    @contextmanager
    def watched(self, process: str) -> Iterator[None]:
        """Party 1: it follows this process of party 0 until the block ends.

        Raises TermsDiffer while it follows another one. A process of an older release has no name.
        """
        with self._lock:
            if self._leader not in ("", process):
                raise TermsDiffer(second_line(self._leader))
            self._leader = process
            self._watches += 1
        try:
            yield
        finally:
            with self._lock:
                self._watches -= 1
                if not self._watches:
                    self._leader = ""

    def _hear(self, said: Said | None, record: _Record) -> tuple[str, ...]:
        known = self._registry.epochs
        lines = state_differences(known, said, self._party)
        if said is not None and not _is_another_deployment(known, said):
            self._remember(said, record)
        return lines

    def _remember(self, said: Said, record: _Record) -> None:
        known = self._registry.epochs
        deployment = known.deployment or said.deployment
        if not deployment and self._party == 1:
            deployment = new_id()
        peer = max(known.peer, said.epoch)
        if (deployment, peer) != (known.deployment, known.peer):
            try:
                record(deployment=deployment, peer=peer)
            except (DiskFull, Unreachable) as error:  # said again with the next message
                log.warning("the other party's epoch is not recorded: %s", error)


def state_differences(known: Epochs, said: Said | None, party: int) -> tuple[str, ...]:
    """What keeps `party`, which knows this, from working with the other one, which said that."""
    peer = 1 - party
    if said is None:
        return (f"state: no epoch there, {known.peer} before",) if known.peer else ()
    if _is_another_deployment(known, said):
        ids = known.deployment[:_DIGITS], said.deployment[:_DIGITS]
        return (
            f"state: deployment {ids[0]} here, {ids[1]} there: one party has the folder of "
            "another deployment; put the right one in place",
        )
    lines = []
    if said.epoch < known.peer:
        lines.append(_older_line(peer, f"{said.epoch} there, {known.peer} before"))
    if known.own < said.seen:
        there = f"{known.own} here, party {peer} has seen {said.seen}"
        lines.append(_older_line(party, there))
    return tuple(lines)


def _is_another_deployment(known: Epochs, said: Said) -> bool:
    both = known.deployment, said.deployment
    return "" not in both and both[0] != both[1]


def second_line(leader: str) -> str:
    """What the second process of a party is told."""
    return f"state: process {leader} of party 0 is at work already; stop one of the two"


def _older_line(party: int, epochs: str) -> str:
    return (
        f"state: epoch {epochs}: party {party} has an older or empty registry; put its newest "
        f"backup in place there, or accept this one with `python -m parties adopt --above N`, N "
        "being the higher number"
    )
