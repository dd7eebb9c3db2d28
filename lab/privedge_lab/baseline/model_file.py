"""Files of a network that is cut: NAME.head for a device (head_file.py), NAME.tail for the server.

Both are safetensors with one metadata entry `privedge-split`: JSON {format, part, spec, cut, ...,
sha256}. The digest covers the rest of the JSON and all tensors, so a damaged file is refused. It
also identifies the file: a head has the digest of its tail. Reading a file runs no code from it.

A server reads only tails. The code that makes and reads heads is in another module, which servers
may not import.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import nn

from privedge import private_file, regular_file
from privedge.errors import CheckpointError, ConfigError
from privedge_lab.baseline.network import build, tail_of
from privedge_lab.baseline.spec import NetworkSpec

FORMAT = 1
MAX_BYTES = 1 << 30
_METADATA = "privedge-split"

Tensors = dict[str, torch.Tensor]
Described = dict[str, Any]


@dataclass(frozen=True)
class Tail:
    """The server's part: spec of the whole network, its cut, and the layers after the cut.

    `digest` is the file's. A query names it, so that only a head's own tail ever answers it.
    """

    spec: NetworkSpec
    cut: str
    layers: nn.Sequential = field(repr=False)
    digest: str


def save_tail(path: Path, spec: NetworkSpec, cut: str, layers: nn.Sequential) -> Tail:
    """Write the tail `layers` of a network of `spec` cut at `cut`.

    Equal input gives equal bytes. Raises CheckpointError if the layers do not fit, or the file
    cannot be written.
    """
    described = {"part": "tail", "spec": json.loads(spec.to_json()), "cut": cut}
    digest = write(path, described, layers, tail_of(spec, cut))
    return Tail(spec, cut, layers, digest)


def load_tail(path: Path) -> Tail:
    """Read and check the tail at `path`, in eval mode. Raises CheckpointError naming the file."""
    part = read(path, "tail")
    layers = part.fill(tail_of)
    return Tail(part.spec, part.cut, layers, part.digest)


# --- What both kinds of file have in common -------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """The content of a file. Its digest was checked; `fill` checks whether the tensors fit."""

    where: str
    spec: NetworkSpec
    cut: str
    described: Described = field(repr=False)
    tensors: Tensors = field(repr=False)
    digest: str

    def fill(self, make: Callable[[NetworkSpec, str], nn.Sequential]) -> nn.Sequential:
        """Make the layers with `make`, and load the tensors as their weights; eval mode.

        Raises CheckpointError unless the weights are exactly those of the layers, and finite.
        """
        # Names and shapes first: nothing is allocated for a file that does not fit its spec.
        with torch.device("meta"):
            _check_layout(self.where, make(self.spec, self.cut).state_dict(), self.tensors)
        layers = make(self.spec, self.cut)
        layers.load_state_dict(self.tensors)
        return layers.eval().requires_grad_(False)


def write(path: Path, described: Described, layers: nn.Sequential, expected: nn.Sequential) -> str:
    """Write one part with mode 0600 and return its digest. Raises CheckpointError."""
    tensors = {name: value.contiguous() for name, value in layers.state_dict().items()}
    _check_layout(str(path), expected.state_dict(), tensors)
    described = {"format": FORMAT, **described}
    digest = _digest(described, tensors)
    metadata = json.dumps({**described, "sha256": digest}, sort_keys=True)
    private_file.write(path, to_safetensors(tensors, {_METADATA: metadata}))
    return digest


def read(path: Path, part: str) -> Part:
    """Read the file of a "head" or a "tail". Raises CheckpointError naming what is wrong."""
    try:
        if regular_file.require(path).st_size > MAX_BYTES:
            raise CheckpointError(f"{path}: larger than {MAX_BYTES} bytes")
        with safe_open(path, framework="pt") as file:
            described = _described(file.metadata(), part, where=str(path))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    except SafetensorError:
        raise CheckpointError(f"{path}: is not a sound safetensors file") from None
    digest = described.pop("sha256")
    if digest != _digest(described, tensors):
        raise CheckpointError(f"{path}: is damaged; take a fresh copy")
    spec = _spec(described, where=str(path))
    cut = described.get("cut")
    if cut not in spec.cuts:
        raise CheckpointError(f"{path}: its network has no such cut")
    return Part(str(path), spec, cut, described, tensors, digest)


def _spec(described: Described, *, where: str) -> NetworkSpec:
    spec = NetworkSpec.from_json(json.dumps(described.get("spec")), where=where)
    try:
        with torch.device("meta"):  # shapes without weights
            build(spec)
    except ConfigError as error:
        raise CheckpointError(f"{where}: {error}") from None
    return spec


def _described(metadata: dict[str, str] | None, part: str, *, where: str) -> Described:
    try:
        described = json.loads((metadata or {})[_METADATA])
        version, found, _ = described["format"], described["part"], described["sha256"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise CheckpointError(f"{where}: was not written by privedge split train") from None
    if version != FORMAT:
        raise CheckpointError(f"{where}: has format {version!r:.20}, this version reads {FORMAT}")
    if found != part:
        raise CheckpointError(f"{where}: is no {part} of a network; give the .{part} file")
    return dict(described)


def _check_layout(where: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    for name in sorted(expected.keys() | found.keys()):
        wanted, given = (_layout(tensors.get(name)) for tensors in (expected, found))
        if wanted != given:
            raise CheckpointError(f"{where}: weight {name} should be {wanted}, is {given}")
    for name, value in found.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{where}: weight {name} is not finite")


def _layout(tensor: torch.Tensor | None) -> str:
    return "absent" if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)}"


def _digest(described: Described, tensors: Tensors) -> str:
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"\0{name}\0{_layout(tensors[name])}\0".encode())
        # The tensor's bytes, for any type; torch is little-endian everywhere.
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
