"""Make a party's key ring, rotate its keys beside the running party, and say what uses which key.

    1.  a new key is added to the ring         the party writes with it from its next write on
    2.  every header, and every salt of the    old keys stay in the ring, so everything can be read
        registry is sealed with it             at every moment
    3.  an operator removes the old key        once no backup needs it either

Only the 32-byte key of a file is encrypted anew, not the file. Sees keys, and no shares.
docs/adr/0020-shares-at-rest.md.
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from parties.at_rest import envelope
from parties.at_rest.key_ring import Key, KeyRing, read_keys, write_keys
from parties.at_rest.sealed_share import reseal, sealed_with
from parties.config.party import PartyConfig
from parties.party.models.encryption import marker_key, require_keys, write_marker
from parties.party.models.folder_identity import IdentityFile
from parties.party.models.look import look
from parties.party.models.salts import Salts
from parties.party.models.share_files import NEXT, SUFFIX, ShareFiles, model_of, version_of
from parties.party.models.start import require_own
from parties.party.models.state_folder import found, open_files, registry_url
from parties.party.models.tables import Model
from privedge.errors import ConfigError, DigestMismatch


def create(config: PartyConfig) -> str:
    """Make the key ring that the file names, with one key. Raises ConfigError if it is there."""
    path = _path_to_change(config)
    if path.exists():
        raise ConfigError(f"{path}: is there already; `keys rotate` adds a key to it")
    key = Key.drawn()
    write_keys(path, [key])
    return f"{path}: key {key.id}; keep a copy apart from the backups of `state`"


def rotate(config: PartyConfig) -> list[str]:
    """Add a key to the ring, and seal everything with it; returns a line for what is left over.

    The party may be running. Raises ConfigError.
    """
    path = _path_to_change(config)
    with _opened(config):  # the present keys fit, or nothing is changed
        key = Key.drawn()
        write_keys(path, [*read_keys(path), key])
    return [*reseal_all(config), f"{path}: key {key.id} encrypts from now on"]


def reseal_all(config: PartyConfig) -> list[str]:
    """Seal with the newest key whatever an older one holds; returns a line for what is left over.

    Raises ConfigError.
    """
    _path_to_change(config)
    faults = []
    with _opened(config) as (ring, registry, files):
        newest = ring.current.id
        if marker_key(config.state) not in (None, newest):
            write_marker(config.state, files.vault, ring)
        rows = registry.with_salts() if registry is not None else {}
        for path in files.everywhere():
            row = rows.get(model_of(path))
            if row is not None and path.suffix in (SUFFIX, NEXT):
                faults += _resealed(path, row, ring, files)
        if registry is not None:
            faults += _salts_resealed(rows, registry, files, newest)
    return faults


def used(config: PartyConfig) -> dict[str, tuple[int, int]]:
    """For each key of the ring, the newest last, how many files and salts are sealed with it.

    A key that something needs and the ring lacks comes first. Raises ConfigError.
    """
    with _opened(config) as (ring, registry, files):
        paths: Counter[str] = Counter()
        for path in files.everywhere():
            paths.update(_key_of(path))
        paths.update(each for each in [marker_key(config.state)] if each)
        kept = registry.salts() if registry is not None else []
        salts = Counter(
            envelope.key_id(salt) for _, salt in kept if len(salt) == envelope.SEALED_BYTES
        )
        known = [key.id for key in ring.keys]
        lost = sorted((paths.keys() | salts.keys()) - set(known))
        return {each: (paths[each], salts[each]) for each in (*lost, *known)}


def drop(config: PartyConfig, key_id: str) -> str:
    """Remove an old key from the ring. Raises ConfigError while `state` needs it."""
    path, needs = _path_to_change(config), used(config)
    keys = read_keys(path)
    key_id = key_id.removesuffix(":")  # as `keys list` prints it
    if key_id not in {key.id for key in keys[:-1]}:
        raise ConfigError(f"{path}: has no older key {key_id}; see `keys list`")
    if needs[key_id] != (0, 0):
        raise ConfigError(f"{path}: key {key_id} is in use; run `keys reseal` first")
    write_keys(path, [key for key in keys if key.id != key_id])
    return f"{path}: key {key_id} is gone; backups that need it cannot be read any more"


def _path(config: PartyConfig) -> Path:
    if config.at_rest.key_file is None:
        raise ConfigError("at_rest: name the key ring with [at_rest] key_file first")
    return config.at_rest.key_file


def _path_to_change(config: PartyConfig) -> Path:
    """The same, for the party's own user only: files of another one would be lost to the party."""
    path = _path(config)
    with suppress(OSError):  # no folder yet
        owner = config.state.stat().st_uid
        if owner != os.geteuid():
            raise ConfigError(
                f"state: {config.state} belongs to the user with id {owner}; run this as that user"
            )
    return path


@contextmanager
def _opened(config: PartyConfig) -> Iterator[tuple[KeyRing, Salts | None, ShareFiles]]:
    """What a party has; no registry before its first start."""
    _path(config)
    files, seen = open_files(config), look(registry_url(config))
    ring = files.vault.ring
    assert ring is not None  # noqa: S101 - _path
    require_own(found(IdentityFile(config.state).read(), seen, files), config.index)
    require_keys(config.state, files.vault, seen.some)
    if seen.holder is None:
        yield ring, None, files
        return
    with closing(Salts(registry_url(config))) as registry:
        yield ring, registry, files


def _key_of(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            found = sealed_with(file)
    except OSError:  # it was moved to the trash, or removed, meanwhile
        return []
    return [] if found is None else [found]


def _resealed(path: Path, row: Model, ring: KeyRing, files: ShareFiles) -> list[str]:
    """Seal one file with the newest key; a line if that cannot be done."""
    if _key_of(path) in ([], [ring.current.id]):
        return []
    try:
        with path.open("r+b", buffering=0) as file:
            version = version_of(path) if path.suffix == NEXT else row.version
            reseal(file, ring, files.vault.label(row.manifest, version))
    except DigestMismatch as error:
        # It may have been refreshed meanwhile, or its refreshed share is about to replace it.
        new = _key_of(path) == [ring.current.id] or files.has_refreshed(row.model_id, row.version)
        return [] if new else [str(error)]
    except FileNotFoundError:  # in the trash now, where `keys reseal` finds it
        return [f"model {row.model_id}: its file was moved meanwhile; run `keys reseal`"]
    except OSError as error:
        return [f"model {row.model_id}: its file cannot be written ({error.strerror})"]
    return []


def _salts_resealed(
    rows: dict[str, Model], registry: Salts, files: ShareFiles, newest: str
) -> list[str]:
    vault, faults, changes = files.vault, [], {}
    for model_id, kept in registry.salts():
        sealed = len(kept) == envelope.SEALED_BYTES
        # A model that is not in `rows` has come since, and uses the newest key.
        if model_id not in rows or not sealed or envelope.key_id(kept) == newest:
            continue
        manifest = rows[model_id].manifest
        try:
            changes[model_id, kept] = vault.kept(manifest, vault.salt(manifest, kept))
        except DigestMismatch as error:
            faults.append(str(error))
    if changes:
        registry.replace_salts(changes)
    return faults
