"""Open a party's state folder: registry, share files and the models over them, as one start-up.

state/              mode 0700
  lock              held while the party runs
  identity.json     whose folder this is (folder_identity.py)
  registry.sqlite   unless registry_url names another database
  shares/           one file per model
  trash/            shares that are no longer used (trash.py)
  reserve           given up when the disk is full (disk.py)
  at_rest.json      once the folder is encrypted (encryption.py)
"""

import fcntl
import os
import pwd
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from parties.at_rest.vault import Vault
from parties.config.party import PartyConfig
from parties.party.audit.files import FOLDER, AuditFiles
from parties.party.audit.log import AuditLog
from parties.party.budgets.asked import AskedCounts
from parties.party.budgets.budgets import Budgets
from parties.party.budgets.ledger import Ledger
from parties.party.edge.peer import Peer
from parties.party.models.checked_shares import fault
from parties.party.models.cohorts import Cohort, build
from parties.party.models.disk import Disk
from parties.party.models.encryption import encrypt_what_is_not, require_keys
from parties.party.models.folder_identity import FolderIdentity, IdentityFile
from parties.party.models.look import Look, look
from parties.party.models.registry import Epochs, Registry
from parties.party.models.service import ModelService
from parties.party.models.share_files import ShareFiles
from parties.party.models.start import Found, require_own, require_startable
from parties.party.models.store import Store
from parties.party.models.tables import Model, State
from parties.party.models.trash import Trash
from privedge.errors import ConfigError


@contextmanager
def open_models(config: PartyConfig, peer: Peer | None) -> Iterator[ModelService]:
    """The models of a party, for as long as the block runs.

    Gives every file its place and removes none. `peer` is None at party 1. Raises ConfigError when
    the folder, the registry or a cohort cannot be used, or do not belong together.
    """
    cohorts = {section.name: build(section, config.randomness) for section in config.cohorts}
    with locked(config.state):
        disk = Disk(config.state, config.disk)
        disk.ease()
        files, identity = open_files(config), IdentityFile(config.state)
        folder, seen = identity.read(), look(registry_url(config))
        there = found(folder, seen, files)
        require_own(there, config.index)  # before anybody looks for the other party's keys
        require_keys(config.state, files.vault, seen.some)
        require_startable(there, config.index)
        folder = folder or FolderIdentity.drawn(config.index)
        if seen.holder is None:
            require_own_shares(seen.some, files)
            identity.write(folder)
        with closing(open_registry(config, disk, identity)) as registry:
            require_same_architecture(registry.live().values(), cohorts)
            if seen.holder is None:
                registry.belong(folder.folder, config.index, Epochs(own=1))
            files.tidy(registry.live(), {each.version for each in registry.refreshes()})
            encrypt_what_is_not(config.state, registry, files)
            disk.set_aside()
            with (
                Ledger(registry) as ledger,
                closing(AskedCounts(registry)) as asked,
                open_audit(config, disk) as audit,
            ):
                budgets = Budgets(
                    config.budgets,
                    config.limits.max_batch,
                    ledger,
                    lambda cohort: cohorts[cohort].labels,
                )
                if files.vault.ring is not None:
                    files.vault.ring.watch(lambda key: audit.soon("key ring", key=key))
                store = Store(registry, files, disk, budgets, asked, audit)
                yield ModelService(cohorts, store, config, peer)


@contextmanager
def open_audit(config: PartyConfig, disk: Disk) -> Iterator[AuditLog]:
    """A party's audit log, for whoever holds its folder. Raises ConfigError."""
    max_bytes = config.audit.file_mib << 20
    with closing(AuditFiles(config.state / FOLDER, max_bytes, disk.give_up)) as files:
        yield AuditLog(files, config.audit.tally_s)


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """One process per folder: a second one would set aside the first one's running uploads.

    Raises ConfigError if that is so, or the folder is another user's.
    """
    require_own_user(state)
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        cure = "; `chown -R` it to the party's user" if isinstance(error, PermissionError) else ""
        raise ConfigError(f"state: cannot use {state}: {error.strerror}{cure}") from None
    with closing(os.fdopen(descriptor, "w")) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"state: {state} is in use by another process") from None
        yield


def require_own_user(folder: Path) -> None:
    """Raise ConfigError if this is root and `folder` another user's.

    What root writes there, with mode 0600, the server of that user could not read.
    """
    try:
        owner = folder.stat().st_uid
    except OSError:  # not there yet, or said when it is used
        return
    if owner != os.geteuid() == 0:
        name = _named(owner)
        raise ConfigError(
            f"state: {folder} belongs to {name}, who could not read what root writes there; run "
            f"this as that user: `runuser -u {name} -- ...`"
        )


def _named(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # a number without a name, as in containers
        return str(user)


def registry_url(config: PartyConfig) -> str:
    """Where a party's registry is."""
    return config.registry_url or f"sqlite:///{config.state / 'registry.sqlite'}"


def open_files(config: PartyConfig) -> ShareFiles:
    """The share files and the trash of a party. Raises ConfigError."""
    shares, trash = config.state / "shares", config.state / "trash"
    try:
        files = ShareFiles(shares, Trash(trash), Vault.of(config))
        one = shares.stat().st_dev == trash.stat().st_dev
    except OSError as error:
        raise ConfigError(f"state: cannot use {shares}: {error.strerror}") from None
    if not one:
        raise ConfigError("state: shares and trash must be on one file system; mount `state` whole")
    return files


def open_registry(config: PartyConfig, disk: Disk, identity: IdentityFile) -> Registry:
    """The registry, which tells the identity file of every commit. Raises ConfigError."""
    return Registry(
        registry_url(config),
        make_room=disk.give_up,
        committed=lambda epochs: identity.advance(epochs.deployment, epochs.own),
    )


def found(folder: FolderIdentity | None, seen: Look, files: ShareFiles | None) -> Found:
    """What a start has to decide on; `files` is None if the folder has none yet."""
    unknown = (files.there() if files else set()) - set(seen.states)
    return Found(folder, seen.holder.identity if seen.holder else None, unknown)


def require_own_shares(rows: Iterable[Model], files: ShareFiles) -> None:
    """Raise ConfigError if a folder from before there were identities is the other party's.

    One share tells: a manifest has commitments to both parties' shares, with different salts.
    Such a folder is not encrypted.
    """
    mine = files.vault
    theirs = Vault(1 - mine.party)
    for row in rows:
        path = files.path(row.model_id)
        if path.exists():
            if fault(path, row, mine) and not fault(path, row, theirs):
                raise ConfigError(
                    f"state: this folder is party {theirs.party}'s, and `index` is {mine.party}; "
                    "give this party its own, and leave the other party's alone"
                )
            return


def require_same_architecture(rows: Iterable[Model], cohorts: Mapping[str, Cohort]) -> None:
    """Raise ConfigError if an active model is not of the architecture that its cohort now has."""
    for row in rows:
        cohort = cohorts.get(row.cohort) if row.state == State.ACTIVE else None
        if cohort is not None and row.manifest.spec_digest != cohort.spec_digest:
            raise ConfigError(
                f"cohorts: {row.cohort} has models of another architecture; "
                "give the new architecture a new cohort name"
            )
