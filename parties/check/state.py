"""A party's state folder, its registry and its cohorts: would a start refuse them?"""

import os
import queue
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from parties.config.party import PartyConfig
from parties.party.models.cohorts import Cohort, build
from parties.party.models.disk import Disk
from parties.party.models.folder_identity import NAME, IdentityFile
from parties.party.models.look import Look, live_rows, look
from parties.party.models.registry import Epochs
from parties.party.models.start import require_startable
from parties.party.models.state_folder import (
    found,
    open_files,
    registry_url,
    require_own_shares,
    require_same_architecture,
)
from privedge.errors import ConfigError, PrivEdgeError
from privedge.findings import Finding

T = TypeVar("T")

# How long a database may take.
_DATABASE_S = 15.0


class StateCheck:
    """What is wrong with a party's state. `epochs` and `cohorts` are what it is on, once checked;
    None if that cannot be told.
    """

    def __init__(self, config: PartyConfig) -> None:
        self._config = config
        self.epochs: Epochs | None = None
        self.cohorts: Mapping[str, Cohort] | None = None

    def findings(self) -> Iterator[Finding]:
        """Check everything. A registry that does not answer is given up after 15 seconds."""
        yield from self._build_cohorts()
        if line := _folder_fault(self._config.state):
            yield Finding("state", line)
            return
        yield from self._disk()
        try:
            seen = _in_time(self._look)
        except PrivEdgeError as error:
            yield Finding("state", str(error))
            return
        row = seen.holder
        self.epochs = Epochs(row.deployment, row.epoch, row.peer_epoch) if row else Epochs()

    def _build_cohorts(self) -> Iterator[Finding]:
        built = {}
        for section in self._config.cohorts:
            try:
                built[section.name] = build(section)
            except ConfigError as error:
                yield Finding("cohorts", str(error))
        if len(built) == len(self._config.cohorts):
            self.cohorts = built

    def _disk(self) -> Iterator[Finding]:
        state = self._config.state
        disk = Disk(state, self._config.disk)
        if line := disk.fault():
            yield Finding("disk", line)
        # Before its first start a party has none.
        if (state / NAME).exists() and (line := disk.reserve_fault()):
            yield Finding("disk", line)

    def _look(self) -> Look:
        """The registry. Raises ConfigError as a start would."""
        config, url = self._config, registry_url(self._config)
        kept = all((config.state / name).is_dir() for name in ("shares", "trash"))
        files = open_files(config) if kept else None  # it would make the folders
        identity, seen = IdentityFile(config.state).read(), look(url)
        require_startable(found(identity, seen, files), config.index)
        if seen.holder is None and files is not None:
            require_own_shares(seen.some, files, config.index)
        if seen.states and self.cohorts is not None:
            require_same_architecture(live_rows(url), self.cohorts)
        return seen


def _folder_fault(state: Path) -> str:
    try:
        there = state.stat()
    except FileNotFoundError:
        return (
            f"{state} is not there; correct `state`, or before a first start make it with "
            f"`mkdir -p -m 700 {state}`"
        )
    except OSError as error:
        return f"cannot look at {state}: {error.strerror}"
    if not stat.S_ISDIR(there.st_mode):
        return f"{state} is no folder; correct `state`"
    if there.st_uid not in (os.geteuid(), 0):
        return f"{state} belongs to another user; run this as that user, or `chown` it"
    # An orchestrator's volume belongs to root and to the group of the process.
    allowed = 0o770 if there.st_uid != os.geteuid() else 0o700
    if stat.S_IMODE(there.st_mode) & 0o777 & ~allowed:
        return f"{state}: others can look into it; run `chmod 700 {state}`"
    if not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        return f"{state} is not writable; run `chmod 700 {state}`"
    return ""


def _in_time(work: Callable[[], T]) -> T:
    """What `work` returns or raises, or ConfigError if it takes too long."""
    answers: queue.SimpleQueue[T | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(work())
        except Exception as error:  # raised below, in the thread that waits
            answers.put(error)

    threading.Thread(target=run, name="registry", daemon=True).start()
    try:
        answer = answers.get(timeout=_DATABASE_S)
    except queue.Empty:
        raise ConfigError(
            f"registry: its database has not answered for {_DATABASE_S:.0f} s; check registry_url "
            "and the network"
        ) from None
    if isinstance(answer, Exception):
        raise answer
    return answer
