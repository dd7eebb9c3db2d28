"""A model's file at rest: encrypted under a passphrase, or under the key in a file.

    sealed = magic (8) | size of the header (2) | header | AES-256-GCM of the file, and its tag (16)
    header = JSON {owner, kind, salt (16), random (32)}, both in hexadecimal
    master = scrypt(passphrase, salt; n = 2^17, r = 8, p = 1), RFC 7914; or what the key file holds
    key    = HKDF-SHA256(master; salt = random, info = "privedge ran v1")

A key encrypts one file only, so the nonce can be zero. Magic and header are associated data.
"""

import json
import os
import stat
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from privedge import regular_file
from privedge.errors import CheckpointError
from privedge.identity.pem_files import fault_of_mode

MAGIC = b"PERAN001"
PASSPHRASE, KEY_FILE = "passphrase", "key file"
LEAST_KEY_BYTES, MOST_KEY_BYTES = 32, 4096
_CURES = {
    PASSPHRASE: "set PRIVEDGE_PASSPHRASE, in Python Ran.load(path, passphrase=...)",
    KEY_FILE: "give --key-file FILE, in Python Ran.load(path, key_file=...)",
}
_NONCE = bytes(12)
_START = len(MAGIC) + 2
_MOST_HEADER = 1024


@dataclass(frozen=True)
class Lock:
    """What encrypts and decrypts files. kind: PASSPHRASE or KEY_FILE. salt: of files to write."""

    kind: str
    secret: bytes = field(repr=False)
    salt: bytes = field(default_factory=lambda: os.urandom(16), repr=False)

    @staticmethod
    def of(passphrase: str | None = None, key_file: Path | None = None) -> "Lock | None":
        """Return the lock of one of these; None without any. Raises CheckpointError."""
        if passphrase is not None and key_file is not None:
            raise CheckpointError("a passphrase and a key file: one of them encrypts; give one")
        if key_file is not None:
            return Lock(KEY_FILE, _key_in(key_file))
        if passphrase is None:
            return None
        if not isinstance(passphrase, str):
            raise CheckpointError("the passphrase must be text")
        if not passphrase:
            raise CheckpointError("the passphrase is empty")
        return Lock(PASSPHRASE, unicodedata.normalize("NFC", passphrase).encode())

    def to_dict(self) -> dict[str, str]:
        """Return it as text, for a child process."""
        return {"kind": self.kind, "secret": self.secret.hex(), "salt": self.salt.hex()}

    @staticmethod
    def from_dict(said: Mapping[str, str]) -> "Lock":
        """Inverse of `to_dict`."""
        return Lock(said["kind"], bytes.fromhex(said["secret"]), bytes.fromhex(said["salt"]))

    def seal(self, raw: bytes, owner: str) -> bytes:
        """Encrypt `raw`, a file of `owner`, whose name can still be read."""
        random = os.urandom(32)
        said = {"owner": owner, "kind": self.kind, "salt": self.salt.hex(), "random": random.hex()}
        header = json.dumps(said).encode()
        start = MAGIC + len(header).to_bytes(2, "little") + header
        return start + self._cipher(self.salt, random).encrypt(_NONCE, raw, start)

    def _cipher(self, salt: bytes, random: bytes) -> AESGCM:
        master = _stretched(self.secret, salt) if self.kind == PASSPHRASE else self.secret
        derive = HKDF(algorithm=SHA256(), length=32, salt=random, info=b"privedge ran v1")
        return AESGCM(derive.derive(master))


def header_of(path: Path) -> dict[str, str] | None:
    """Return what an encrypted file says of itself; None for any other. Raises OSError and
    CheckpointError.
    """
    with regular_file.opened(path) as file:
        return _header(file.read(_START + _MOST_HEADER), where=str(path))


def opened(raw: bytes, lock: Lock | None, *, where: str) -> bytes:
    """Return a file's content as it was before `seal`, or as it is if it is not encrypted.

    Raises CheckpointError without the right lock.
    """
    said = _header(raw, where=where)
    if said is None:
        return raw
    if lock is None or lock.kind != said["kind"]:
        cure = _CURES[said["kind"]]
        raise CheckpointError(f"{where}: is encrypted with a {said['kind']}; {cure}")
    end = _START + int.from_bytes(raw[len(MAGIC) : _START], "little")
    cipher = lock._cipher(bytes.fromhex(said["salt"]), bytes.fromhex(said["random"]))
    try:
        return cipher.decrypt(_NONCE, raw[end:], raw[:end])
    except InvalidTag:
        why = f"this {lock.kind} does not open it, or the file is damaged"
        raise CheckpointError(f"{where}: {why}") from None


def _header(raw: bytes, *, where: str) -> dict[str, str] | None:
    if not raw.startswith(MAGIC):
        return None
    size = int.from_bytes(raw[len(MAGIC) : _START], "little")
    try:
        said: dict[str, Any] = json.loads(raw[_START : _START + size])
        lengths = [len(bytes.fromhex(said[name])) for name in ("salt", "random")]
        if lengths == [16, 32] and said["kind"] in _CURES and isinstance(said["owner"], str):
            return said
    except (KeyError, TypeError, ValueError, RecursionError):
        pass
    raise CheckpointError(f"{where}: is encrypted, and its first bytes are damaged")


@lru_cache(maxsize=16)
def _stretched(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=1 << 17, r=8, p=1).derive(passphrase)


def _key_in(path: Path) -> bytes:
    try:
        found, raw = regular_file.require(path), regular_file.read(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not LEAST_KEY_BYTES <= len(raw) <= MOST_KEY_BYTES:
        raise CheckpointError(
            f"{path}: is no key; it needs {LEAST_KEY_BYTES} to {MOST_KEY_BYTES} random bytes, as "
            f"from `head -c 32 /dev/urandom > {path}`"
        )
    if hasattr(os, "geteuid"):  # Windows has no such modes
        fault = fault_of_mode(found.st_uid, stat.S_IMODE(found.st_mode), os.geteuid())
        if fault is not None:
            raise CheckpointError(f"{path}: {fault.format(path=path)}")
    return raw
