"""A public ONNX file and its session in onnxruntime: one session for each file in a process.

To load a file takes tenths of a second, and to run it milliseconds. So sessions are kept by the
SHA-256 of their file and shared by all threads, clients and owners of the process. What runs is
always what was hashed: a file that has changed since is read and hashed again.

A session has one thread and sums in a fixed order. It is given what the file's author meant: inputs
that are constants or that nothing reads, as old exporters leave them, are taken out. Quantised
weights are unpacked once, at loading. Needs `pip install 'privedge[encoder]'`.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt
from google.protobuf.message import DecodeError

from privedge import extras, regular_file
from privedge.errors import ConfigError

# The largest file that is read. No encoder that runs on a phone is larger.
_MAX_BYTES = 1 << 30
# A device uses one encoder and one detector; experiments some more. Each takes memory.
_KEPT = 4
_LONGEST_REASON = 400
_NEEDS = "an encoder needs"
# A file that is written twice within a tick of the file system's clock looks the same.
_TICK_NS = 2_000_000_000


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    kind: the type of its elements, such as "float" or "int64".
    shape: a number for each axis that the file fixes, and a name or None for any other.
    """

    name: str
    kind: str
    shape: tuple[int | str | None, ...]


@dataclass(frozen=True)
class Session:
    """A loaded file, ready to run. Threads may share it.

    sha256: of the file as it is on the disk, 64 hexadecimal digits.
    inputs: without those that were taken out.
    taken_out: how many inputs of the file were constants, or read by nothing.
    """

    sha256: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    taken_out: int
    _runtime: Any = field(repr=False)

    def run(self, *values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """Return all outputs for one array for each input. Raises ConfigError with the reason."""
        given = {port.name: value for port, value in zip(self.inputs, values, strict=True)}
        try:
            outputs: list[npt.NDArray[Any]] = self._runtime.run(None, given)
        except Exception as error:  # onnxruntime's own kinds share no root
            raise ConfigError(f"does not run: {_reason(error)}") from error
        return outputs


_lock = threading.Lock()
_sessions: "OrderedDict[str, Session]" = OrderedDict()
_digests: "OrderedDict[tuple[int, ...], str]" = OrderedDict()


def require_installed() -> None:
    """Raise MissingExtra if onnx or onnxruntime is not installed."""
    extras.require(extras.FOR_ENCODERS, _NEEDS, extras.FOR_ENCODERS)


def digest(path: Path) -> str:
    """Return the SHA-256 of the file at `path`, 64 hexadecimal digits.

    A file that has not changed is not read again. Raises ConfigError.
    """
    facts = _facts(path)
    with _lock:
        if known := _digests.get(facts):
            return known
    found = hashlib.sha256(_read(path)).hexdigest()
    if time.time_ns() - facts[-2] > _TICK_NS and _facts(path) == facts:
        with _lock:
            _keep(_digests, facts, found)
    return found


def session(path: Path, sha256: str) -> Session:
    """Return the session of the file at `path`, which has this SHA-256.

    Raises ConfigError if the file has another one or cannot be used, with onnxruntime's reason, and
    MissingExtra without onnxruntime.
    """
    with _lock:  # so two threads do not load one file twice
        if found := _sessions.get(sha256):
            _sessions.move_to_end(sha256)
            return found
        raw = _read(path)
        if hashlib.sha256(raw).hexdigest() != sha256:
            raise ConfigError(f"{path}: has not the SHA-256 {sha256}")
        loaded = _loaded(path, raw, sha256)
        _keep(_sessions, sha256, loaded)
        return loaded


def _keep(kept: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    kept[key] = value
    while len(kept) > _KEPT:
        kept.popitem(last=False)


def _facts(path: Path) -> tuple[int, ...]:
    """Return what tells one state of a file from another; the second last is when it changed."""
    try:
        there = regular_file.require(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({_os_reason(error)})") from None
    if there.st_size > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than {_MAX_BYTES} bytes")
    return there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns, there.st_ctime_ns


def _read(path: Path) -> bytes:
    _facts(path)
    try:
        return regular_file.read(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({_os_reason(error)})") from None


def _os_reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def parsed(path: Path, raw: bytes | None = None) -> Any:
    """Return the file at `path`, whose bytes may be `raw`, as an onnx.ModelProto.

    Raises ConfigError if it is not one, or keeps weights elsewhere, and MissingExtra without onnx.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise extras.missing(error, _NEEDS, extras.FOR_ENCODERS) from None
    try:
        model = onnx.load_model_from_string(_read(path) if raw is None else raw)
    except DecodeError:
        raise ConfigError(f"{path}: is no ONNX file") from None
    if any(onnx.external_data_helper.uses_external_data(each) for each in _tensors(model.graph)):
        raise ConfigError(
            f"{path}: keeps weights in another file, which its SHA-256 does not cover; "
            "save it as one file"
        )
    return model


def _loaded(path: Path, raw: bytes, sha256: str) -> Session:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise extras.missing(error, _NEEDS, extras.FOR_ENCODERS) from None
    model = parsed(path, raw)
    taken_out = _take_out_inputs(model.graph)
    try:
        runtime = onnxruntime.InferenceSession(
            model.SerializeToString() if taken_out else raw,
            _options(onnxruntime),
            providers=["CPUExecutionProvider"],
        )
    except Exception as error:  # onnxruntime's own kinds share no root
        raise ConfigError(f"{path}: onnxruntime cannot load it: {_reason(error)}") from error
    inputs, outputs = map(_ports, (runtime.get_inputs(), runtime.get_outputs()))
    return Session(sha256, inputs, outputs, taken_out, runtime)


def _options(onnxruntime: Any) -> Any:
    options = onnxruntime.SessionOptions()
    # One thread sums in a fixed order, so owner and client compute the same numbers.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    # Else quantised weights would be unpacked in every run, and the 8-bit products of some
    # processors saturate where those of others do not.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options


def _take_out_inputs(graph: Any) -> int:
    """Remove inputs that are constants or that no node reads, and return how many they were."""
    constants = {tensor.name for tensor in graph.initializer}
    read = {name for node in _nodes(graph) for name in node.input}
    kept = [port for port in graph.input if port.name in read and port.name not in constants]
    taken_out = len(graph.input) - len(kept)
    del graph.input[:]
    graph.input.extend(kept)
    return taken_out


def _nodes(graph: Any) -> Iterator[Any]:
    """Every node of a graph and of the graphs in it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    """Every constant of a graph and of the graphs in it."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _ports(found: Any) -> tuple[Port, ...]:
    return tuple(
        Port(each.name, each.type.removeprefix("tensor(").removesuffix(")"), tuple(each.shape))
        for each in found
    )


def _reason(error: Exception) -> str:
    """Return onnxruntime's reason in one line, without its number: "[...] : 7 : KIND : why"."""
    said = " ".join(str(error).split())
    said = said.split(" : ", 3)[-1] if said.startswith("[ONNXRuntimeError]") else said
    return said if len(said) <= _LONGEST_REASON else f"{said[:_LONGEST_REASON]}..."
