"""The device's file of a cut network, NAME.head, and the deployment's key, NAME.key.

The head has the layers up to the cut, the device's defence, and the digest of the tail it was
trained with. The key is a separate file of 32 raw bytes: heads may be given to anyone who attacks
them (privedge_lab.attacks), keys never. With `fixed` draws, all devices of a deployment need the
same key. The head then has the key's digest, under a label of its own, and accepts no other key.
With `per-input` draws, each device may have its own key.

Both have mode 0600 and stay on the device. No server can import this module.
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from torch import nn

from privedge import private_file, regular_file
from privedge.errors import CheckpointError, ConfigError
from privedge_lab.baseline.defence import Defence, Device
from privedge_lab.baseline.defences import registry
from privedge_lab.baseline.draws import KEY_BYTES, Repeat
from privedge_lab.baseline.model_file import Described, read, write
from privedge_lab.baseline.network import head_of
from privedge_lab.baseline.spec import NetworkSpec

_LABEL = b"privedge split key v1\0"


@dataclass(frozen=True)
class Head:
    """The device's part. `tail` is the digest of the tail file that it belongs to.

    `key_digest` is set if only one key fits. `facts` are notes on the training, for people.
    """

    spec: NetworkSpec
    cut: str
    layers: nn.Sequential = field(repr=False)
    defence: Defence
    tail: str
    key_digest: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)

    def device(self, key: bytes) -> Device:
        """Combine head, defence and key. Raises CheckpointError for another deployment's key."""
        if self.key_digest is not None and _digest(key) != self.key_digest:
            raise CheckpointError("the key is not the one this head was trained with")
        return Device(self.layers, self.defence, key)


def make_head(
    spec: NetworkSpec, cut: str, layers: nn.Sequential, defence: Defence, *, tail: str, key: bytes
) -> Head:
    """Make a head of a trained network: `layers` of `spec` up to `cut`. `tail` is a digest."""
    fixed = defence.repeat == "fixed" and defence.name != "none"
    return Head(spec, cut, layers, defence, tail, _digest(key) if fixed else None)


def save_head(path: Path, head: Head) -> None:
    """Write `head`, mode 0600. Raises CheckpointError if it does not fit or cannot be written."""
    described: Described = {
        "part": "head",
        "spec": json.loads(head.spec.to_json()),
        "cut": head.cut,
        "tail": head.tail,
        "key": head.key_digest,
        "facts": dict(head.facts),
        "defence": {
            "name": head.defence.name,
            "strength": head.defence.strength,
            "repeat": head.defence.repeat,
            "learned": head.defence.learned(),
        },
    }
    write(path, described, head.layers, head_of(head.spec, head.cut))


def load_head(path: Path, *, measuring: bool = False) -> Head:
    """Read and check the head at `path`. Raises CheckpointError naming what is wrong with it.

    `measuring` accepts a defence that gives its secret away; never ask a server with such a head.
    """
    part = read(path, "head")
    layers = part.fill(head_of)
    try:
        return Head(
            part.spec,
            part.cut,
            layers,
            _defence(part.described["defence"], measuring),
            str(part.described["tail"]),
            part.described["key"],
            dict(part.described["facts"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CheckpointError(f"{path}: was not written by privedge split train") from None
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _defence(described: Mapping[str, Any], measuring: bool) -> Defence:
    name, strength = described["name"], described["strength"]
    repeat, learned = described["repeat"], described["learned"]
    sound = isinstance(strength, int | float) and isinstance(learned, dict)
    if not sound or repeat not in get_args(Repeat):
        raise ConfigError("its description of the defence is malformed")
    return registry.make(str(name), strength, repeat, measuring=measuring, learned=learned)


def new_key() -> bytes:
    """Draw KEY_BYTES fresh bytes from the operating system."""
    return os.urandom(KEY_BYTES)


def save_key(path: Path, key: bytes) -> None:
    """Write a key, mode 0600. Raises CheckpointError, also if the file exists: none is replaced."""
    if path.exists():
        raise CheckpointError(f"{path}: exists; other devices may need it, so move it away first")
    private_file.write(path, key)


def load_key(path: Path) -> bytes:
    """Read the key at `path`. Raises CheckpointError if it is not a key, or others can read it."""
    try:
        mode, key = regular_file.require(path).st_mode, regular_file.read(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    if stat.S_IMODE(mode) & 0o077:
        raise CheckpointError(f"{path}: others can read this key; run `chmod 600 {path}`")
    if len(key) != KEY_BYTES:
        raise CheckpointError(f"{path}: a key has {KEY_BYTES} bytes, this file has {len(key)}")
    return key


def _digest(key: bytes) -> str:
    return hashlib.sha256(_LABEL + key).hexdigest()
