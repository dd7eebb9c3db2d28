"""Copy a party's state, beside a running party, and put such a copy back into an empty folder.

A backup is a folder of mode 0700:

    registry.sqlite    the registry, whatever database it is in (registry_copy.py)
    identity.json      of that registry
    shares/            one file for each model that the registry says is here
    backup.json        written last: digests, party, epoch

Sees one share of models, as bytes, and this party's salts. What is encrypted in the folder stays so
in a backup, which then needs the same key ring. A backup is as private as the folder.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

from parties.at_rest.vault import Vault
from parties.config.party import PartyConfig
from parties.party.models.disk import Disk
from parties.party.models.folder_identity import NAME, FolderIdentity, IdentityFile
from parties.party.models.look import live_models, look_at
from parties.party.models.registry import Epochs
from parties.party.models.share_files import SUFFIX
from parties.party.models.state_folder import (
    locked,
    open_registry,
    registry_url,
    require_own_user,
)
from parties.party.models.tables import FolderRow, Model
from parties.party.upkeep import verify
from parties.party.upkeep.registry_copy import copy, load, require_none, save
from parties.party.upkeep.spending import note_spending
from privedge import __version__, private_file
from privedge.errors import ConfigError
from privedge.private_file import sync_folder

# While copying, models may be replaced or deleted; then the registry is copied again.
_TRIES = 10


def backup(config: PartyConfig, to: Path) -> list[str]:
    """Write a backup to the new folder `to`; returns a line for each share that is damaged.

    Raises ConfigError, and then there is no such folder.
    """
    if to.exists():
        raise ConfigError(f"{to}: exists; name a new folder for each backup")
    if to.resolve().is_relative_to(config.state.resolve()):
        raise ConfigError(f"{to}: is inside `state`, and would be lost with it; name another place")
    with _made(to) as folder:
        holder, rows, faults = _copied_and_checked(config, folder, Vault.of(config))
        IdentityFile(folder).write(holder.identity)
        shares = [f"{verify.SHARES}/{row.model_id}{SUFFIX}" for row in rows]
        names = (verify.REGISTRY, NAME, *shares)
        facts = verify.BackupFacts(
            config.index,
            holder.epoch,
            __version__,
            int(time.time()),
            {name: verify.sha256(folder / name) for name in names},
        )
        fields = {"format": verify.BACKUP_FORMAT} | asdict(facts)
        private_file.write(folder / verify.MANIFEST, json.dumps(fields, indent=1).encode())
        return faults


def restore(
    config: PartyConfig,
    source: Path,
    above: int | None = None,
    *,
    forget_spending: bool = False,
) -> list[str]:
    """Put a backup into the empty folder `state`; returns a line for each share that is damaged.

    `above`: raise the epoch above this one, which the other party has seen. What clients have spent
    since the backup is not in it: it counts as all that they may have, unless `forget_spending`.
    Raises ConfigError, and then `state` is as it was.
    """
    facts = verify.read_facts(source, config.index)
    faults = list(verify.verify_backup(source, Vault.of(config)))
    for line in faults:
        # The rest of a backup with a damaged share is worth having; one that lies is not.
        if not line.startswith(("model ", f"{verify.SHARES}/")):
            raise ConfigError(f"{source}: {line}")
    own = IdentityFile(source).read()
    if own is None:
        raise ConfigError(f"{source / NAME}: is missing; is this a finished backup?")
    if not config.state.exists():
        require_own_user(config.state.parent)  # or a new folder would be root's
    with locked(config.state):
        _require_empty(config.state)
        require_none(registry_url(config))
        (config.state / verify.SHARES).mkdir(mode=0o700)
        for name in facts.files:
            if verify.SHARE.fullmatch(name) and (source / name).is_file():
                copy(source / name, config.state / name)
        load(source / verify.REGISTRY, registry_url(config))
        identity = _settled(config, own, above, forget_spending)
        # Last: without it, what an interruption leaves does not start.
        IdentityFile(config.state).write(identity)
    return faults


def _require_empty(state: Path) -> None:
    if {path.name for path in state.iterdir()} - {"lock"}:
        raise ConfigError(f"{state}: is there already; move it away, and restore beside it")


def _settled(
    config: PartyConfig, folder: FolderIdentity, above: int | None, forget_spending: bool
) -> FolderIdentity:
    """Raise the epoch of the registry that was restored, and note what is known of its budgets.

    Returns `folder` with that epoch.
    """
    unwritten = IdentityFile(config.state)
    with closing(open_registry(config, Disk(config.state, config.disk), unwritten)) as registry:
        if above is not None:
            own, peer = max(folder.epoch, above) + 1, registry.epochs.peer
            registry.belong(folder.folder, folder.party, Epochs(folder.deployment, own, peer))
        note_spending(registry, forget=forget_spending)
        return replace(folder, epoch=registry.epochs.own)


@contextmanager
def _made(to: Path) -> Iterator[Path]:
    """A folder that becomes `to` if the block ends well, and is removed otherwise."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{to.name}.", dir=to.absolute().parent))
        try:
            (folder / verify.SHARES).mkdir(mode=0o700)
            yield folder
            sync_folder(folder)
            folder.rename(to)
            sync_folder(to.absolute().parent)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError as error:
        raise ConfigError(f"{to}: cannot be written ({error.strerror})") from None


def _copied_and_checked(
    config: PartyConfig, folder: Path, vault: Vault
) -> tuple[FolderRow, list[Model], list[str]]:
    """As `_copied`, with a line for each share that is damaged."""
    shares = folder / verify.SHARES
    holder, rows = _copied(config, folder)
    faults = list(verify.share_faults(shares, rows, vault))
    if faults:  # shares may have been refreshed after the registry was copied, so once more
        for share in shares.iterdir():
            share.unlink()
        holder, rows = _copied(config, folder)
        faults = list(verify.share_faults(shares, rows, vault))
    return holder, rows, faults


def _copied(config: PartyConfig, folder: Path) -> tuple[FolderRow, list[Model]]:
    """Copy registry and shares until they fit; returns what the copy of the registry says."""
    shares = folder / verify.SHARES
    missing: set[str] = set()
    for _ in range(_TRIES):
        saved = folder / verify.REGISTRY
        save(registry_url(config), saved)
        holder, rows = look_at(saved).holder, live_models(saved)
        if holder is None or holder.party != config.index:
            raise ConfigError(f"registry: is none of party {config.index} that was in use")
        names = {f"{row.model_id}{SUFFIX}" for row in rows}
        for share in shares.iterdir():
            if share.name not in names:
                share.unlink()
        missing = {name for name in names if not _there(config.state, shares, name)}
        if not missing:
            return holder, rows
    raise ConfigError(f"shares/{min(missing)}: is missing; `python -m parties verify` names all")


def _there(state: Path, shares: Path, name: str) -> bool:
    """Copy a share unless that is done; whether it could be. It may have been replaced since the
    registry was copied, and then it waits in the trash.
    """
    if (shares / name).exists():
        return True
    for source in (state / verify.SHARES / name, *(state / "trash").glob(f"*.{name}")):
        with suppress(FileNotFoundError):
            copy(source, shares / name)
            return True
    return False
