"""Copy a party's state, beside a running party, and put such a copy back into an empty folder.

A backup is a folder of mode 0700:

    registry.sqlite    the registry, whatever database it is in (registry_copy.py)
    identity.json      of that registry
    shares/            one file for each model that the registry says is here
    backup.json        written last: digests, party, epoch

Sees one share of models, as bytes, and this party's salts. A backup is as private as the folder.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from parties.config.party import PartyConfig
from parties.party.models.disk import Disk
from parties.party.models.folder_identity import NAME, IdentityFile
from parties.party.models.look import live_models, look_at
from parties.party.models.registry import Epochs
from parties.party.models.share_files import SUFFIX
from parties.party.models.state_folder import locked, open_registry, registry_url
from parties.party.models.tables import FolderRow, Model
from parties.party.upkeep import verify
from parties.party.upkeep.registry_copy import copy, load, require_none, save
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
    with _made(to) as folder:
        holder, rows = _copied(config, folder)
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
        return list(verify.share_faults(folder / verify.SHARES, rows, config.index))


def restore(config: PartyConfig, source: Path, above: int | None = None) -> list[str]:
    """Put a backup into the empty folder `state`; returns a line for each share that is damaged.

    `above`: raise the epoch above this one, which the other party has seen. Raises ConfigError, and
    then `state` is as it was.
    """
    facts = verify.read_facts(source, config.index)
    faults = list(verify.verify_backup(source, config.index))
    for line in faults:
        # The rest of a backup with a damaged share is worth having; one that lies is not.
        if not line.startswith(("model ", f"{verify.SHARES}/")):
            raise ConfigError(f"{source}: {line}")
    with locked(config.state):
        _require_empty(config.state)
        require_none(registry_url(config))
        (config.state / verify.SHARES).mkdir(mode=0o700)
        for name in facts.files:
            if verify.SHARE.fullmatch(name) and (source / name).is_file():
                copy(source / name, config.state / name)
        load(source / verify.REGISTRY, registry_url(config))
        # Last: without it, what an interruption leaves does not start.
        copy(source / NAME, config.state / NAME)
        if above is not None:
            _raise_epoch(config, above)
    return faults


def _require_empty(state: Path) -> None:
    if {path.name for path in state.iterdir()} - {"lock"}:
        raise ConfigError(f"{state}: is there already; move it away, and restore beside it")


def _raise_epoch(config: PartyConfig, above: int) -> None:
    identity = IdentityFile(config.state)
    now = identity.read()
    if now is not None:
        with closing(open_registry(config, Disk(config.state, config.disk), identity)) as registry:
            own, peer = max(now.epoch, above) + 1, registry.epochs.peer
            registry.belong(now.folder, now.party, Epochs(now.deployment, own, peer))


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
