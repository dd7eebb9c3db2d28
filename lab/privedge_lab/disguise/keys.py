"""The key of one disguised data set, and its file.

A key is 32 bytes from the operating system. HKDF and AES-CTR derive matrices, AES keys and the
permutation from them, so the file stays small. Anyone who trains on the set or asks the network
needs the same key. The file is JSON with mode 0600:

    {"format": 1, "sized": {"settings": {...}, "image": [C, H, W]}, "secret": "<64 hex digits>"}
"""

import json
import math
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parties.mpc.prg import SEED_BYTES, MaskStream
from privedge import private_file, regular_file
from privedge.errors import CertificateError
from privedge_lab.disguise.settings import Sized

FORMAT = 1
_MAX_BYTES = 1 << 16
# A double holds these steps and the half steps between them, so 0 and 1 are never reached.
_STEPS = 1 << 52


@dataclass(frozen=True)
class DisguiseKey:
    """A kind of disguise, and the secret that it is derived from."""

    sized: Sized
    secret: bytes = field(repr=False)

    @property
    def identity(self) -> str:
        """The public identity: 16 hex digits that distinguish keys and reveal nothing of them."""
        return KeyStream(self.secret, "identity").octets(8).hex()


class KeyStream:
    """Numbers derived from a key (or from fresh bytes, for noise). Secret; no useful repr."""

    def __init__(self, secret: bytes, purpose: str, position: int = 0) -> None:
        self._stream = MaskStream(
            secret, purpose=f"disguise {purpose}", session=b"", counter=position
        )

    def uniform(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Draw float64 of `shape`, uniform in the open interval (0, 1)."""
        # The top 52 bits of each word.
        steps = (self._stream.take(shape) >> 12) & (_STEPS - 1)
        return (steps.double() + 0.5) / _STEPS

    def normal(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Draw float64 of `shape`, standard normal."""
        return math.sqrt(2) * torch.erfinv(2 * self.uniform(shape) - 1)

    def permutation(self, length: int) -> torch.Tensor:
        """Draw a permutation, int64 (length,), every order equally likely."""
        # Two equal words of 64 bits would favour an order by less than length^2 / 2^64.
        return self._stream.take((length,)).argsort()

    def octets(self, count: int) -> bytes:
        """Draw `count` uniform bytes; `count` is a multiple of 8."""
        return self._stream.take((count // 8,)).numpy().tobytes()


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal[1]
    sized: Sized
    secret: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", repr=False)]


def generate(sized: Sized) -> DisguiseKey:
    """Generate a fresh key."""
    return DisguiseKey(sized, os.urandom(SEED_BYTES))


def save(key: DisguiseKey, path: Path) -> None:
    """Write `key` to `path`, which must not exist: without their key, disguised images are lost.

    Raises CertificateError for a file that exists, CheckpointError if it cannot be written.
    """
    if path.exists():
        raise CertificateError(f"{path}: exists, and a key is never replaced; choose another name")
    stored = {
        "format": FORMAT,
        "sized": key.sized.model_dump(mode="json"),
        "secret": key.secret.hex(),
    }
    private_file.write(path, json.dumps(stored, indent=1).encode() + b"\n")


def load(path: Path) -> DisguiseKey:
    """Read the key at `path`.

    Raises CertificateError if it is missing or damaged, or if others can read it.
    """
    try:
        with regular_file.opened(path) as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            raw = file.read(_MAX_BYTES)
    except OSError as error:
        raise CertificateError(f"{path}: cannot be read ({error.strerror})") from None
    if mode & 0o077:
        raise CertificateError(f"{path}: others can read this key; run `chmod 600 {path}`")
    try:
        stored = _Stored.model_validate_json(raw)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"]) or "content"
        # The error names only the field, for its value could be the secret.
        raise CertificateError(f"{path}: is not a key of privedge ({place} is wrong)") from None
    return DisguiseKey(stored.sized, bytes.fromhex(stored.secret))
