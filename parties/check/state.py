"""A party's state folder, its registry and its cohorts: would a start refuse them?"""

import os
import queue
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from parties.at_rest.vault import Vault
from parties.config.party import PartyConfig
from parties.party.audit.files import FOLDER, require_continuable
from parties.party.models.cohorts import Cohort, build
from parties.party.models.disk import Disk
from parties.party.models.encryption import require_keys
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
from privedge.findings import Finding, hint

T = TypeVar("T")

# The folders in a state folder; a start makes those that are missing.
_FOLDERS = ("shares", "trash", FOLDER)
# What tells a folder that has been a party's, and what a file system puts at its top.
_OURS = {NAME, "lock", "shares", "registry.sqlite"}
_OF_FILE_SYSTEMS = {"lost+found"}
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
        for examine in (_purpose, _folder, _contents):
            found = list(examine(self._config.state))
            yield from found
            if any(each.is_fault for each in found):
                return
        yield from self._disk()
        try:
            vault = Vault.of(self._config)
        except ConfigError as error:
            yield Finding("at_rest", str(error))
            return
        if vault.ring is None:
            yield hint("at_rest", "no key_file: shares and salts lie unencrypted on the disk")
        try:
            seen = _in_time(self._look)
        except PrivEdgeError as error:
            yield Finding("state", str(error))
            return
        try:
            require_keys(self._config.state, vault, seen.some)
        except ConfigError as error:
            yield Finding("at_rest", str(error))
        row = seen.holder
        self.epochs = Epochs(row.deployment, row.epoch, row.peer_epoch) if row else Epochs()

    def _build_cohorts(self) -> Iterator[Finding]:
        built = {}
        for section in self._config.cohorts:
            try:
                built[section.name] = cohort = build(section, self._config.randomness)
                for line in cohort.cautions():
                    yield hint("cohorts", line)
            except ConfigError as error:
                yield Finding("cohorts", str(error))
        if len(built) == len(self._config.cohorts):
            self.cohorts = built

    def _disk(self) -> Iterator[Finding]:
        state = self._config.state
        disk = Disk(state, self._config.disk)
        space, too_large = disk.space(), disk.reserve_too_large()
        # A reserve without room takes what is free, and then uploads are refused because of it.
        if (line := disk.fault()) and not (too_large and space.free >= space.kept_free):
            yield Finding("disk", line)
        # Before its first start a party has none.
        started = (state / NAME).exists()
        if line := too_large or (disk.reserve_fault() if started else ""):
            yield Finding("disk", line)

    def _look(self) -> Look:
        """The registry. Raises ConfigError as a start would."""
        config, url = self._config, registry_url(self._config)
        kept = all((config.state / name).is_dir() for name in ("shares", "trash"))
        files = open_files(config) if kept else None  # it would make the folders
        identity, seen = IdentityFile(config.state).read(), look(url)
        require_startable(found(identity, seen, files), config.index)
        if seen.holder is None and files is not None:
            require_own_shares(seen.some, files)
        if seen.states and self.cohorts is not None:
            require_same_architecture(live_rows(url), self.cohorts)
        return seen


def _folder(state: Path) -> Iterator[Finding]:
    try:
        there = state.stat()
    except FileNotFoundError:
        yield Finding(
            "state",
            f"{state} is not there; correct `state`, or before a first start make it with "
            f"`mkdir -p -m 700 {state}`",
        )
        return
    except OSError as error:
        yield Finding("state", f"cannot look at {state}: {error.strerror}")
        return
    if not stat.S_ISDIR(there.st_mode):
        yield Finding("state", f"{state} is no folder; correct `state`")
    elif there.st_uid not in (os.geteuid(), 0):
        yield Finding(
            "state", f"{state} belongs to another user; run this as that user, or `chown` it"
        )
    elif there.st_mode & stat.S_IRWXO:
        yield Finding("state", f"{state}: others can look into it; run `chmod 700 {state}`")
    elif not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("state", f"{state} is not writable; {_opened(state, there)}")
    # An orchestrator opens a volume, and what is in it, to the group of the process.
    elif there.st_mode & stat.S_IRWXG:
        yield hint("state", f"{state}: its group can look into it; if that is not meant, run "
                            f"`chmod 700 {state}`")  # fmt: skip


def _purpose(state: Path) -> Iterator[Finding]:
    """Whether a folder that has never been a party's serves for something else."""
    try:
        names = {each.name for each in state.iterdir()}
    except OSError:  # said below
        return
    others = names - _OF_FILE_SYSTEMS
    if others and not others & _OURS:
        yield Finding(
            "state", f"{state} is no state folder, for it holds {min(others)}; name one of its own"
        )


def _opened(path: Path, there: os.stat_result) -> str:
    if there.st_uid == os.geteuid():
        return f"run `chmod 700 {path}`"
    return "it is another user's; run this as the party's user, or `chown -R` it to that one"


def _contents(state: Path) -> Iterator[Finding]:
    """Whether a start can use the folders and the lock in a state folder, if they are there."""
    for path in (state / name for name in _FOLDERS):
        if not os.path.lexists(path):
            continue
        if not path.is_dir():
            yield Finding("state", f"{path} is no folder; move it away")
        elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            yield Finding("state", f"{path} is not writable; {_opened(path, path.stat())}")
        elif path.name == FOLDER:
            try:
                require_continuable(path)
            except ConfigError as error:
                yield Finding("state", str(error))
    lock = state / "lock"
    if os.path.lexists(lock) and not (lock.is_file() and os.access(lock, os.R_OK | os.W_OK)):
        yield Finding("state", f"{lock} cannot be used; remove it while the party does not run")


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
