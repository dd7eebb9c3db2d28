"""What can be seen of an ONNX file that is to be an encoder, before anything is trained with it.

Whether the file scales pixels itself, and where its channels are, stands in its graph. The order of
the channels stands nowhere: it is that of the pictures on which the encoder was trained.
"""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from privedge.arrays import Features
from privedge.errors import ConfigError, PrivEdgeError
from privedge.ran import detector, onnx_encoder, onnx_file
from privedge.ran.feature_kinds import EncoderInput
from privedge.ran.onnx_file import Port, Session
from privedge.ran.spec import ImageShape

# The size of the blank picture for a file that fixes none.
_USUAL = ImageShape(height=112, width=112, channels=3)
_ARITHMETIC = ("Sub", "Add", "Mul", "Div")
_PASSED_ON = ("Identity", "Cast", "Transpose", "Dropout")
_UNIT = 1e-3
# Sums of a batch may be done in another order.
_SAME = 1e-3
_SEED = 0


@dataclass(frozen=True)
class Facts:
    """What was seen of a file.

    why: why it cannot be used; empty if it can.
    opsets: the version of each set of operators, by name ("" is ONNX's own).
    taken_out: how many inputs are constants or unused, and were left out.
    image: the size of the pictures, in pixels, and their channels.
    batch: how many pictures it takes at once; None: any number.
    alone: whether a picture has the same features among others. privedge gives an encoder one
        picture at a time where it may.
    scaled_inside: what the file itself does to pixels at first, such as "Sub 127.5".
    output: the shape of one picture's features.
    unit_length: whether the features of two pictures had length one.
    seconds: one picture took, on one thread.
    """

    file: Path
    sha256: str
    size: int
    why: str = ""
    opsets: tuple[tuple[str, int], ...] = ()
    producer: str = ""
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    taken_out: int = 0
    layout: Literal["nchw", "nhwc"] = "nchw"
    image: ImageShape | None = None
    batch: int | None = None
    alone: bool = True
    scaled_inside: tuple[str, ...] = ()
    output: tuple[int, ...] = ()
    unit_length: bool = False
    seconds: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether the file can be an encoder."""
        return not self.why


def inspect(path: Path) -> Facts:
    """Look at the file at `path`, and run it on made pictures, alone and together.

    Raises ConfigError if the file cannot be read, and MissingExtra without onnxruntime. A file that
    is no encoder raises nothing: `why` says so.
    """
    sha256 = onnx_file.digest(path)
    seen: dict[str, Any] = {"file": path, "sha256": sha256, "size": path.stat().st_size}
    onnx_file.require_installed()
    try:
        model = onnx_file.parsed(path)
        seen |= {
            "opsets": tuple((each.domain, each.version) for each in model.opset_import),
            "producer": " ".join([model.producer_name, model.producer_version]).strip(),
            "scaled_inside": scaled_inside(model.graph),
        }
        session = onnx_file.session(path, sha256)
        seen |= {
            "inputs": session.inputs,
            "outputs": session.outputs,
            "taken_out": session.taken_out,
        }
        if detector.is_one(session):
            raise ConfigError("is a detector of faces, not an encoder; give it as --detector")
        onnx_encoder.require_picture_input(path, session)
        seen |= _tried(path, session)
    except PrivEdgeError as error:
        seen["why"] = str(error).removeprefix(f"{path}: ")
    return Facts(**seen)


def _tried(path: Path, session: Session) -> dict[str, Any]:
    port = session.inputs[0]
    wants = EncoderInput(layout=onnx_encoder.layout_of(port))
    image = onnx_encoder.image_of(path, session, wants, _USUAL)
    shape = (2, image.channels, image.height, image.width)
    planes = np.random.default_rng(_SEED).integers(0, 256, shape, np.uint8)
    planes[0] = 0
    values = onnx_encoder.prepared(planes, wants)
    onnx_encoder.require_told_apart(path, session, wants, shape[1:])  # the first run takes longer
    started = perf_counter()
    features = onnx_encoder.run(path, session, values)
    seconds = (perf_counter() - started) / len(values)
    lengths = np.linalg.norm(features.reshape(len(features), -1), axis=1)
    batch, alone = _together(session, values, features)
    return {
        "layout": wants.layout,
        "image": image,
        "batch": batch,
        "alone": alone,
        "output": features.shape[1:],
        "unit_length": bool((np.abs(lengths - 1) < _UNIT).all()),
        "seconds": seconds,
    }


def _together(
    session: Session, values: npt.NDArray[np.float32], apart: Features
) -> tuple[int | None, bool]:
    """How many pictures a file takes at once, and whether each then has the same features."""
    fixed = session.inputs[0].shape[0]
    if isinstance(fixed, int) and fixed > 0:
        return fixed, True
    try:
        found = session.run(values)[0]
    except ConfigError:  # its layers fix what its input does not
        return 1, True
    if found.shape != apart.shape:
        return 1, True
    return None, bool(np.allclose(found, apart, rtol=_SAME, atol=_SAME * np.abs(apart).max()))


def scaled_inside(graph: Any) -> tuple[str, ...]:
    """Return what the first nodes of an ONNX graph do to pixels, such as "Sub 127.5".

    They are followed while each is the only one to read what the one before gives.
    """
    from onnx import numpy_helper

    constants = {each.name: each for each in graph.initializer}
    constants |= {
        node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"
    }
    pictures = [port.name for port in graph.input if port.name not in constants]
    name, steps = pictures[0] if pictures else "", []
    while True:
        readers = [node for node in graph.node if name in node.input]
        if len(readers) != 1 or readers[0].op_type not in (*_ARITHMETIC, *_PASSED_ON):
            break
        node = readers[0]
        if node.op_type in _ARITHMETIC:
            others = [constants.get(each) for each in node.input if each != name]
            if len(others) != 1 or others[0] is None:
                break
            steps.append(f"{node.op_type} {_shown(numpy_helper.to_array(others[0]))}")
        name = node.output[0]
    if len(readers) == 1 and readers[0].op_type == "BatchNormalization":
        steps.append("BatchNormalization")
    return tuple(steps)


def _shown(value: npt.NDArray[Any]) -> str:
    numbers = [f"{each:.6g}" for each in value.reshape(-1)[:3]]
    return ", ".join(numbers) + (", ..." if value.size > len(numbers) else "")
