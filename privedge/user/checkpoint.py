"""A trained RAN, and its file.

The parameters are the owner's secret: the file has mode 0600 and leaves the device only as shares.
The file is safetensors, one float32 tensor per parameter of the spec, with one metadata entry
`privedge`: JSON {format, spec, owner, facts}. Reading one runs no code from it. With a passphrase
or a key file all of it is encrypted (sealed.py).
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize, safe_open
from safetensors.numpy import save as to_safetensors

from privedge import private_file, regular_file
from privedge.config import StrPath, as_path
from privedge.errors import CheckpointError
from privedge.identity.roles import NOBODY, OWNER_NAME
from privedge.ran.any_spec import Spec, spec_from_json
from privedge.ran.spec import RanSpec, Subspace
from privedge.user import sealed
from privedge.user.sealed import Lock

FORMAT = 1
MAX_BYTES = 1 << 30
# The rule of certificates: a name that can be in one can own a model.
OWNER = OWNER_NAME
OWNER_RULE = (
    "1 to 64 letters, digits, dots, underscores or hyphens, a letter or digit first, and not "
    f"{NOBODY}, the answer for strangers"
)
_METADATA = "privedge"

Parameters = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Ran:
    """One owner's trained model. It is as secret as the pictures it was trained on.

    Attributes:
        spec: the architecture.
        owner: the name in the owner's certificate.
        parameters: float32 arrays, with the names and shapes of `spec.parameters()`.
        facts: notes on the training, for people to read.

    Example:
        ran = train("pictures/", owner="ana")
        ran.save("ana.ran")
        assert Ran.load("ana.ran").owner == "ana"
    """

    spec: RanSpec
    owner: str
    parameters: Parameters = field(repr=False)
    facts: dict[str, str] = field(default_factory=dict)

    def save(
        self,
        path: StrPath,
        *,
        passphrase: str | None = None,
        key_file: StrPath | None = None,
    ) -> None:
        """Write the model to a file that only this user can read.

        Args:
            path: the file, which is replaced if it exists.
            passphrase: encrypt it with this passphrase. Without it and `key_file` it is written in
                the clear.
            key_file: encrypt it with this file of at least 32 random bytes, in place of a
                passphrase.

        Raises:
            CheckpointError: a parameter or the owner's name is not valid, or the file cannot be
                written.
        """
        save(self, as_path(path, CheckpointError), Lock.of(passphrase, _path(key_file)))

    @staticmethod
    def load(
        path: StrPath, *, passphrase: str | None = None, key_file: StrPath | None = None
    ) -> "Ran":
        """Read a model that `save` or `privedge train` has written. No code from the file is run.

        Args:
            path: the file.
            passphrase, key_file: what it was encrypted with.

        Returns:
            The model.

        Raises:
            CheckpointError: the file is missing, damaged, encrypted with something else or of
                another version.
        """
        return load(as_path(path, CheckpointError), Lock.of(passphrase, _path(key_file)))


def _path(given: StrPath | None) -> Path | None:
    return None if given is None else as_path(given, CheckpointError)


def save(ran: Ran, path: Path, lock: Lock | None = None) -> None:
    """Write `ran` to `path`, and replace an older file. The same RAN gives the same bytes.

    lock: encrypts it; the bytes are then others each time.

    Raises CheckpointError if the RAN is not valid or the file cannot be written.
    """
    check(ran.spec, ran.parameters, where=str(path))
    write(path, ran.spec, ran.owner, ran.parameters, ran.facts, lock)


def write(
    path: Path,
    spec: Spec,
    owner: str,
    parameters: Parameters,
    facts: Mapping[str, str],
    lock: Lock | None,
) -> None:
    """Write what `save` writes, of parameters that were checked. Raises CheckpointError."""
    _check_owner(owner, where=str(path))
    described = {
        "format": FORMAT,
        "spec": json.loads(spec.to_json()),
        "owner": owner,
        "facts": facts,
    }
    metadata = {_METADATA: json.dumps(described, sort_keys=True)}
    ordered = {name: np.ascontiguousarray(parameters[name]) for name in spec.parameters()}
    raw = to_safetensors(ordered, metadata)
    private_file.write(path, raw if lock is None else lock.seal(raw, owner))


def validation_error(facts: Mapping[str, str]) -> float | None:
    """Return the mean squared error on held-out images; None if none was held out."""
    said = facts.get("validation_mse")
    return None if said is None else float(said)


def training_in_words(spec: RanSpec, count: int, steps: int, error: float | None) -> str:
    """Say how a model was trained, of `count` images or vectors. `error`: what `validation_error`
    returns.
    """
    what = "vector" if spec.image is None else "image"
    checked = f"no {what} held out" if error is None else f"validation error {error:.4g}"
    return f"{count} {what}{'' if count == 1 else 's'}, {steps} steps, {checked}"


def require_replaceable(path: Path, owner: str | None, *, encrypted: bool) -> None:
    """Raise CheckpointError if `path` cannot be written, or holds anything but a model of `owner`,
    or an encrypted one in place of which there would be one that is not.

    owner: None if any file may be replaced. encrypted: whether the new one will be.
    """
    private_file.require_writable(path)
    if owner is None or not os.path.lexists(path):
        return
    cure = "choose another name, or replace it with --force"
    try:
        there = owner_of(path)
    except CheckpointError:
        raise CheckpointError(f"{path}: exists and is no model of {owner}; {cure}") from None
    if there != owner:
        raise CheckpointError(f"{path}: is the model of {there}, not of {owner}; {cure}")
    if not encrypted and sealed.header_of(path) is not None:
        raise CheckpointError(f"{path}: is encrypted, and the new model would not be; {cure}")


def owner_of(path: Path) -> str:
    """Return whose RAN is at `path`, without reading it. Raises CheckpointError."""
    try:
        if (sealed_as := sealed.header_of(path)) is not None:
            return sealed_as["owner"]
        with safe_open(path, framework="np") as file:
            owner: str = _described(file.metadata(), where=str(path))["owner"]
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    except SafetensorError:
        raise CheckpointError(f"{path}: is not a sound safetensors file") from None
    return owner


def load(path: Path, lock: Lock | None = None) -> Ran:
    """Read and check the RAN at `path`. Raises CheckpointError, which names the fault.

    lock: decrypts it, if it is encrypted.
    """
    spec, described, parameters = read(path, lock)
    if not isinstance(spec, RanSpec):
        raise CheckpointError(f"{path}: is a model to serve, and no RAN")
    check(spec, parameters, where=str(path))
    return Ran(spec, described["owner"], parameters, described["facts"])


def read(path: Path, lock: Lock | None = None) -> tuple[Spec, dict[str, Any], Parameters]:
    """Read what `write` has written: the spec, what is said of the owner, and parameters with the
    names and shapes of the spec. Raises CheckpointError.
    """
    try:
        if regular_file.require(path).st_size > MAX_BYTES:
            raise CheckpointError(f"{path}: larger than {MAX_BYTES} bytes")
        raw = sealed.opened(regular_file.read(path), lock, where=str(path))
        found = dict(deserialize(raw))  # type: ignore[no-untyped-call]
        described = _described(metadata_of(raw), where=str(path))
        spec = _spec(described, where=str(path))
        _check_layout(spec, _layout(found), where=str(path))
        parameters = {
            name: np.frombuffer(found[name]["data"], "<f4").reshape(shape)
            for name, shape in spec.parameters().items()
        }
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    except SafetensorError:
        raise CheckpointError(f"{path}: is not a sound safetensors file") from None
    return spec, described, parameters


def metadata_of(raw: bytes) -> dict[str, str] | None:
    """Return the metadata of a sound safetensors file: JSON after eight bytes of its size."""
    header: dict[str, Any] = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    return header.get("__metadata__")


def check(spec: RanSpec, parameters: Mapping[str, npt.NDArray[Any]], *, where: str) -> None:
    """Raise CheckpointError unless `parameters` are those of `spec`, and finite float32.

    The rows of a subspace's basis must be orthonormal (or zero), because the private score relies
    on it.
    """
    check_parameters(spec, parameters, where=where)
    for index, layer in enumerate(spec.layers):
        if isinstance(layer, Subspace):
            _check_orthonormal(parameters[f"{index}.basis"], where=f"{where}: layer {index}")


def check_parameters(spec: Spec, parameters: Mapping[str, npt.NDArray[Any]], *, where: str) -> None:
    """The same without what is asked of RANs only."""
    layout = {name: (str(value.dtype), value.shape) for name, value in parameters.items()}
    _check_layout(spec, layout, where=where)
    for name, value in parameters.items():
        if not np.isfinite(value).all():
            raise CheckpointError(f"{where}: parameter {name} is not finite")


def _check_owner(owner: object, *, where: str) -> None:
    if not isinstance(owner, str) or not OWNER.fullmatch(owner):
        raise CheckpointError(f"{where}: the owner's name must be {OWNER_RULE}")


def _check_layout(
    spec: Spec, layout: Mapping[str, tuple[str, tuple[int, ...]]], *, where: str
) -> None:
    expected = {name: ("float32", shape) for name, shape in spec.parameters().items()}
    for name in expected.keys() | layout.keys():
        if expected.get(name) != layout.get(name):
            raise CheckpointError(
                f"{where}: parameter {name} should be {expected.get(name, 'absent')}, "
                f"is {layout.get(name, 'absent')}"
            )


def _check_orthonormal(basis: npt.NDArray[np.float32], *, where: str) -> None:
    products = basis.astype(np.float64) @ basis.T.astype(np.float64)
    lengths = np.diag(products)
    if not np.allclose(products, np.diag(lengths > 0.5), atol=1e-3):
        raise CheckpointError(f"{where}: the basis is not orthonormal")


def _described(metadata: dict[str, str] | None, *, where: str) -> dict[str, Any]:
    try:
        described = json.loads((metadata or {})[_METADATA])
        version, owner, facts = described["format"], described["owner"], described["facts"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise CheckpointError(f"{where}: was not written by privedge train") from None
    if version != FORMAT:
        raise CheckpointError(f"{where}: has format {version!r:.20}, this version reads {FORMAT}")
    _check_owner(owner, where=where)
    if not isinstance(facts, dict) or not all(isinstance(fact, str) for fact in facts.values()):
        raise CheckpointError(f"{where}: facts must be text")
    return dict(described)


def _spec(described: dict[str, Any], *, where: str) -> Spec:
    try:
        return spec_from_json(json.dumps(described.get("spec")))
    except CheckpointError as error:
        raise CheckpointError(f"{where}: {error}") from None


def _layout(found: Mapping[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {
        name: ("float32" if part["dtype"] == "F32" else part["dtype"], tuple(part["shape"]))
        for name, part in found.items()
    }
