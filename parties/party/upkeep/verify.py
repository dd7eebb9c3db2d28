"""Check everything that a party keeps: identity, registry, and each share against its manifest.

Sees one share of models, as bytes, and this party's salts. It changes nothing, and may run beside
the party.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parties.at_rest.vault import Vault
from parties.config.party import PartyConfig
from parties.party.models.checked_shares import fault
from parties.party.models.encryption import require_keys
from parties.party.models.folder_identity import NAME, IdentityFile
from parties.party.models.look import live_models, live_rows, look
from parties.party.models.share_files import SUFFIX
from parties.party.models.start import refusal, require_own
from parties.party.models.state_folder import found, open_files, registry_url
from parties.party.models.tables import Model
from privedge.errors import ConfigError

# Raised when a file of a backup gets another name or meaning.
BACKUP_FORMAT = 1
MANIFEST, REGISTRY, SHARES = "backup.json", "registry.sqlite", "shares"
SHARE = re.compile(rf"{SHARES}/[0-9a-f]{{32}}{re.escape(SUFFIX)}")
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class BackupFacts:
    """What backup.json says. files: SHA-256 (hex) of each file, by its path in the backup."""

    party: int
    epoch: int
    release: str
    created_at: int
    files: dict[str, str]


def verify(config: PartyConfig) -> Iterator[str]:
    """What is wrong with a party's state: one line for each fault."""
    url = registry_url(config)
    if not config.state.is_dir():
        yield f"state: {config.state} is not there"
        return
    try:
        identity, seen, files = IdentityFile(config.state).read(), look(url), open_files(config)
        there = found(identity, seen, files)
        require_own(there, config.index)
        require_keys(config.state, files.vault, seen.some)
        line = refusal(there, config.index)
    except ConfigError as error:
        yield str(error)
        return
    if line is not None:
        yield line
    if not seen.states:
        return
    for row in live_rows(url):
        wrong = files.fault(row)
        # A running party may have finished its upload, removed or refreshed it in between.
        now = {each.model_id: each for each in live_rows(url)} if wrong else {}
        if wrong and row.model_id in now:
            wrong = files.fault(now[row.model_id])
            if wrong:
                yield wrong


def verify_backup(folder: Path, vault: Vault) -> Iterator[str]:
    """What is wrong with a backup of the vault's party: one line for each fault."""
    party = vault.party
    try:
        facts = read_facts(folder, party)
        for name, digest in facts.files.items():
            if name not in (REGISTRY, NAME) and not SHARE.fullmatch(name):
                yield f"{MANIFEST}: names a file that no backup has"
            elif not (folder / name).is_file():
                yield f"{name}: is missing"
            elif sha256(folder / name) != digest:
                yield f"{name}: has another digest than when it was backed up"
        rows = live_models(folder / REGISTRY)
        epoch = IdentityFile(folder).read()
    except ConfigError as error:
        yield str(error)
        return
    if epoch is None or (epoch.party, epoch.epoch) != (party, facts.epoch):
        yield f"{NAME}: is not the one of {MANIFEST}"
    yield from share_faults(folder / SHARES, rows, vault)


def share_faults(folder: Path, rows: list[Model], vault: Vault) -> Iterator[str]:
    """What is wrong with these models' share files in `folder`."""
    for row in rows:
        wrong = fault(folder / f"{row.model_id}{SUFFIX}", row, vault)
        if wrong:
            yield wrong


def read_facts(folder: Path, party: int) -> BackupFacts:
    """The manifest of a finished backup. Raises ConfigError, also if it is the other party's."""
    path = folder / MANIFEST
    try:
        fields: dict[str, Any] = json.loads(path.read_text(encoding="ascii"))
        if fields.pop("format") != BACKUP_FORMAT:
            raise ConfigError(f"{path}: has another format than {BACKUP_FORMAT}")
        facts = BackupFacts(**fields)
    except FileNotFoundError:
        raise ConfigError(f"{path}: is not there; is this a finished backup?") from None
    except OSError as error:  # root may have made it, for itself only
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}; run this as its owner, or `chown -R` it"
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ConfigError(f"{path}: is damaged") from None
    if facts.party != party:
        raise ConfigError(f"{folder}: is a backup of party {facts.party}, and `index` is {party}")
    return facts


def sha256(path: Path) -> str:
    """Of a file (hex), read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()
