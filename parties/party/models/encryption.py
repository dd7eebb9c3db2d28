"""Whether a state folder is encrypted, with keys that are at hand; and how it comes to be.

    at_rest.json    in a folder that is encrypted: 32 zero bytes, sealed with the key ring

Sees one additive share of models, a piece at a time, and this party's salts, while it encrypts a
folder of before. Nothing is ever decrypted to the disk. docs/adr/0020-shares-at-rest.md.
"""

import json
import logging
import os
import secrets
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from parties.at_rest import envelope
from parties.at_rest.key_ring import KeyRing
from parties.at_rest.vault import Vault, is_sealed_file
from parties.party.models.checked_shares import Expected, copied
from parties.party.models.registry import Registry
from parties.party.models.share_files import (
    NEXT,
    PARTIAL,
    SUFFIX,
    ShareFiles,
    model_of,
    version_of,
)
from parties.party.models.tables import Model, RefreshedShare
from privedge import private_file
from privedge.errors import ConfigError, DigestMismatch, ShareError
from privedge.private_file import sync_folder

log = logging.getLogger(__name__)

NAME = "at_rest.json"
# Raised when this file, an encrypted share or a sealed salt gets another form.
FORMAT = 1
_SECRET = bytes(envelope.SECRET_BYTES)
_NAME_THEM = "name its key ring with [at_rest] key_file"


def require_keys(state: Path, vault: Vault, some: Iterable[Model]) -> None:
    """Raise ConfigError, in one line, if the folder is encrypted and its keys are not at hand.

    `some`: rows of its registry. A restored backup may have no marker yet; its salts tell.
    """
    sealed = _marker(state)
    salts = [row for row in some if len(row.salt) == envelope.SEALED_BYTES]
    ring = vault.ring
    if ring is None:
        if sealed is not None or salts:
            raise ConfigError(f"at_rest: what lies in {state} is encrypted; {_NAME_THEM}")
        return
    if sealed is not None:
        fits = _fits(partial(envelope.unseal, ring, sealed, _purpose(vault)))
    else:  # of these one is enough: another one may be damaged
        fits = not salts or any(_fits(partial(vault.salt, row.manifest, row.salt)) for row in salts)
    if not fits:
        raise ConfigError(
            f"at_rest: key_file is not the key ring of {state}; put the right one back"
        )


def _fits(unseal: Callable[[], bytes]) -> bool:
    try:
        unseal()
    except DigestMismatch:
        return False
    return True


def encrypt_what_is_not(state: Path, registry: Registry, files: ShareFiles) -> None:
    """At a start with a key ring: encrypt all shares and salts that are not. Without: warn.

    May be interrupted at any moment; the next start goes on.
    """
    vault = files.vault
    if vault.ring is None:
        log.warning(
            "at_rest: shares and salts lie unencrypted on the disk; see "
            "docs/how-to/encrypt-and-rotate.md"
        )
        return
    if _marker(state) is None:
        write_marker(state, vault, vault.ring)
    # A ring that is replaced by mistake must not become that of a party that is running.
    vault.ring.accept_only(lambda keys: marker_key(state) in (None, *(key.id for key in keys)))
    rows = registry.with_salts()
    prepared = {(each.model_id, each.version): each for each in registry.refreshes()}
    registry.forget_refreshes([each for each in prepared.values() if each.model_id not in rows])
    for path in files.everywhere():
        row = rows.get(model_of(path))
        if row is not None and path.suffix in (SUFFIX, NEXT) and not _is_sealed(path, row):
            share = prepared.get((row.model_id, version_of(path))) if path.suffix == NEXT else None
            _encrypt(path, row, share, vault)
    plain = [each for each in registry.salts() if len(each[1]) != envelope.SEALED_BYTES]
    if plain:
        sealed = {(each, salt): vault.kept(rows[each].manifest, salt) for each, salt in plain}
        registry.replace_salts(sealed)
        log.info(
            "at_rest: encrypted the shares and salts of %d models", len({each for each, _ in plain})
        )


def write_marker(state: Path, vault: Vault, ring: KeyRing) -> None:
    """Say from now on that the folder is encrypted, with the newest key of the ring."""
    fields = {"format": FORMAT, "check": envelope.seal(ring, _SECRET, _purpose(vault)).hex()}
    private_file.write(state / NAME, (json.dumps(fields) + "\n").encode())


def marker_key(state: Path) -> str | None:
    """The id of the key that the marker was sealed with; None without one. Raises ConfigError."""
    sealed = _marker(state)
    return None if sealed is None else envelope.key_id(sealed)


def _marker(state: Path) -> bytes | None:
    try:
        fields = json.loads((state / NAME).read_text(encoding="ascii"))
        if fields["format"] != FORMAT:
            raise ConfigError(f"at_rest: {state / NAME} has another format than {FORMAT}")
        return bytes.fromhex(fields["check"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"at_rest: cannot read {state / NAME}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):
        raise ConfigError(
            f"at_rest: {state / NAME} is damaged; remove it, and the next start writes it anew"
        ) from None


def _purpose(vault: Vault) -> bytes:
    return f"privedge at rest v1\0folder\0{vault.party}".encode()


def _is_sealed(path: Path, row: Model) -> bool:
    try:
        return is_sealed_file(path, row.manifest)
    except OSError:  # damage is the quarantine's matter
        return True


def _encrypt(path: Path, row: Model, share: RefreshedShare | None, vault: Vault) -> None:
    """Put an encrypted copy in a share file's place. What is damaged stays as it is."""
    # In the trash the name begins with a time still, so that a copy that broke off goes by it too.
    temporary = path.with_suffix(f".{secrets.token_hex(8)}{PARTIAL}")
    try:
        copied(path, temporary, Expected.of(row, vault, share), vault)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except (DigestMismatch, ShareError, OSError) as error:
        log.error("model %s: its share is not encrypted: %s", row.model_id, type(error).__name__)
    finally:
        temporary.unlink(missing_ok=True)
