"""`python party.py PROTOCOL RANK FOLDER HOST:PORT HOST:PORT`: one of SPU's two processes.

It runs in an environment of its own (environment.py) and imports nothing of privedge. group.py
starts it, with files of stock/files.py in the folder. It shares models and images, says that it is
ready, and answers each line on standard input, the number of a query, with one line of JSON. What
it reads is made up, so nothing here is private.

The network is a program in jax, which is how SPU has programs, owner by owner:

    d_j   = mean((x - RAN_j(x))^2)
    label = argmin of d
"""

import json
import os
import re
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import spu
from spu import libspu
from spu.utils import frontend

# An array of jax. jax has types of its own, which we do not check.
Array = Any
_SECRET = libspu.Visibility.VIS_SECRET
_PATIENCE_MS = 600_000
_SENT = re.compile(r"total send bytes (\d+)")


def distances(layers: Sequence[Mapping[str, Any]], parameters: Sequence[Any], x: Array) -> Array:
    """d of images x (B, *shape), (B, N). `parameters`: of each owner, by name."""
    return jnp.stack([_distance(layers, owner, x) for owner in parameters], axis=1)


def _distance(layers: Sequence[Mapping[str, Any]], named: Mapping[str, Array], x: Array) -> Array:
    size = len(x), -1
    if layers[0]["kind"] == "subspace":
        gap = x.reshape(size) - named["0.mean"]
        code = gap @ named["0.basis"].T
        return (jnp.square(gap).sum(1) - jnp.square(code).sum(1)) / gap.shape[1]
    value = x
    for index, layer in enumerate(layers):
        value = _applied(layer, value, named.get(f"{index}.weight"), named.get(f"{index}.bias"))
    return jnp.mean(jnp.square(x.reshape(size) - value.reshape(size)), axis=1)


def _applied(layer: Mapping[str, Any], x: Array, weight: Array, bias: Array) -> Array:
    kind = layer["kind"]
    if kind == "conv":
        left, right, top, bottom = layer["padding"]
        strides, padding = (layer["stride"],) * 2, ((top, bottom), (left, right))
        return jax.lax.conv_general_dilated(x, weight, strides, padding) + bias[:, None, None]
    if kind == "dense":
        return x.reshape(len(x), -1) @ weight.T + bias
    if kind == "reshape":
        return x.reshape(len(x), *layer["shape"])
    if kind == "upsample":
        return _enlarged(x, layer["factor"])
    if kind == "relu":
        return jnp.maximum(x, 0)
    raise ValueError(f"no layer of kind {kind} for SPU")


def _enlarged(x: Array, factor: int) -> Array:
    *lead, height, width = x.shape
    spread = x.reshape(*lead, height, 1, width, 1)
    whole = jnp.broadcast_to(spread, (*lead, height, factor, width, factor))
    return whole.reshape(*lead, height * factor, width * factor)


class Party:
    """One rank, connected to the other."""

    def __init__(self, protocol: str, rank: int, folder: Path, hosts: Sequence[str]) -> None:
        """Compile the program, meet the other process and share the models."""
        self._rank, self._log = rank, folder / f"spu{rank}.log"
        config = libspu.RuntimeConfig(
            protocol=getattr(libspu.ProtocolKind, protocol), field=libspu.FieldType.FM64
        )
        # It writes into the log how many bytes a run sent.
        config.enable_pphlo_profile = True
        libspu.logging.setup_logging(_logging(self._log))
        layers, owners, self._queries = _read(folder)
        self._executable = _compiled(layers, owners, self._queries[0])
        self._io = spu.Io(2, config)
        self._link = libspu.link.create_brpc(_meeting(hosts), rank)
        self._runtime = spu.Runtime(self._link, config)
        *weights, self._image = self._executable.input_names
        arrays = [array for owner in owners for array in owner.values()]
        for name, array in zip(weights, arrays, strict=True):
            self._set(name, array)

    def answer(self, number: int) -> dict[str, Any]:
        """The label and d of each image of a batch, seconds, and bytes sent to the other party."""
        self._set(self._image, self._queries[number])
        self._link.barrier()
        read = self._log.stat().st_size
        since = time.perf_counter()
        self._runtime.run(self._executable)
        seconds = time.perf_counter() - since
        label, d = (self._opened(name) for name in self._executable.output_names)
        return {"owners": label, "d": d, "seconds": seconds, "bytes": self._sent(read)}

    def _sent(self, since: int) -> int:
        """Bytes that the last run sent, as the log says from this place on."""
        with self._log.open("rb") as log:
            log.seek(since)
            said = _SENT.findall(log.read().decode(errors="replace"))
        return int(said[-1])

    def _set(self, name: str, array: Any) -> None:
        """Share an array. Party 0 makes both shares: it is nobody's secret."""
        if self._rank == 0:
            mine, theirs = self._io.make_shares(np.ascontiguousarray(array), _SECRET)
            self._say(theirs)
        else:
            mine = self._heard()
        self._runtime.set_var(name, mine)

    def _opened(self, name: str) -> Any:
        """A result in the clear, at both parties."""
        mine = self._runtime.get_var(name)
        self._say(mine)
        both = [mine, self._heard()]
        return self._io.reconstruct(both if self._rank == 0 else both[::-1]).tolist()

    def _say(self, share: Any) -> None:
        parts = [share.meta, *share.share_chunks]
        self._link.send(1 - self._rank, struct.pack("<Q", len(parts)))
        for part in parts:
            self._link.send(1 - self._rank, part)

    def _heard(self) -> Any:
        (count,) = struct.unpack("<Q", self._link.recv(1 - self._rank))
        meta, *chunks = (self._link.recv(1 - self._rank) for _ in range(count))
        share = libspu.Share()
        share.meta, share.share_chunks = meta, chunks
        return share


def serve(party: Party, say: Callable[[Any], None]) -> None:
    """Report readiness, then answer each line."""
    say({"ready": True})
    for line in iter(sys.stdin.readline, ""):
        say(party.answer(json.loads(line)))


def _read(folder: Path) -> tuple[list[Any], list[dict[str, Any]], Any]:
    """Layers; each owner's parameters by name, float32; and queries (number, B, *shape)."""
    layers = json.loads((folder / "spec.json").read_text(encoding="utf-8"))["layers"]
    with np.load(folder / "parameters.npz") as file:
        stacked = {name: file[name] for name in file.files}
    count = len(next(iter(stacked.values())))
    owners = [{name: values[at] for name, values in stacked.items()} for at in range(count)]
    return layers, owners, np.load(folder / "queries.npy")


def _compiled(layers: list[Any], owners: list[dict[str, Any]], image: Any) -> Any:
    """The program: from all parameters, owner by owner, and an image to label and d."""
    names = list(owners[0])
    inputs = [*(owner[name] for owner in owners for name in names), image]

    def program(*given: Any) -> Any:
        *flat, x = given
        each = [flat[at : at + len(names)] for at in range(0, len(flat), len(names))]
        d = distances(layers, [dict(zip(names, values, strict=True)) for values in each], x)
        return jnp.argmin(d, axis=1), d

    executable, _ = frontend.compile(
        frontend.Kind.JAX,
        program,
        inputs,
        {},
        [f"in{at}" for at in range(len(inputs))],
        [_SECRET] * len(inputs),
        lambda found: [f"out{at}" for at in range(len(found))],
    )
    return executable


def _meeting(hosts: Sequence[str]) -> Any:
    description = libspu.link.Desc()
    for rank, host in enumerate(hosts):
        description.add_party(f"party{rank}", host)
    # One may compute for long while the other one waits.
    description.recv_timeout_ms = _PATIENCE_MS
    return description


def _logging(file: Path) -> Any:
    options = libspu.logging.LogOptions()
    options.enable_console_logger = False
    options.system_log_path = str(file)
    return options


def main(protocol: str, rank: int, folder: Path, hosts: Sequence[str]) -> None:
    """Run one process until standard input ends."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(line: Any) -> None:
        answers.write(json.dumps(line) + "\n")
        answers.flush()

    serve(Party(protocol, rank, folder, hosts), say)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
