"""Drawn faces, and small ONNX files that stand for a detector and an encoder of faces.

Nobody is on the pictures. `detector` finds red discs, each a face of its own; the real detector,
of `make face-recipe DIR=build/faces`, finds what `cartoon` draws.
"""

import os
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from PIL import Image, ImageDraw, ImageFilter

RECIPE = Path(os.environ.get("PRIVEDGE_FACE_FILES", "build/faces"))
STRIDES = (8, 16, 32)
_REAL = onnx.TensorProto.FLOAT
# What `detector` says of a disc, in the 320 pixels of the first look: size of the box, and points
# around the middle.
BOX = 64.0
POINTS = np.array([(-14, -10), (14, -10), (0, 2), (-10, 14), (10, 14)], np.float64)


Place = tuple[float, float]


def cartoon(size: int = 240, *, scale: float = 1.0, at: Place = (0, 0)) -> Image.Image:
    """A front view of a drawn face, `scale` of what fills the picture, moved by `at` pixels."""
    finer = 4
    picture = Image.new("RGB", (size * finer, size * finer), (150, 170, 190))
    pen = ImageDraw.Draw(picture)
    unit = size * finer / 240 * scale
    middle = [(size / 2 + shift) * finer for shift in at]

    def disc(x: float, y: float, width: float, height: float, colour: tuple[int, int, int]) -> None:
        corners = [(x - width, y - height), (x + width, y + height)]
        right, down = middle
        pen.ellipse([(right + a * unit, down + b * unit) for a, b in corners], colour)

    skin, shade, hair = (224, 172, 140), (179, 137, 112), (60, 40, 30)
    disc(0, 110, 90, 50, (70, 80, 120))
    disc(0, 65, 22, 30, shade)
    disc(0, -12, 64, 80, hair)
    disc(0, 5, 54, 72, skin)
    for side in (-22, 22):
        disc(side, -24, 13, 3, hair)
        disc(side, -10, 13, 8, shade)
        disc(side, -8, 10, 5.5, (245, 245, 245))
        disc(side, -8, 5, 5, (70, 50, 40))
    disc(0, 14, 9, 14, (209, 160, 130))
    disc(0, 20, 11, 6, shade)
    disc(0, 44, 20, 7, (170, 80, 80))
    disc(0, 44, 19, 1, (110, 40, 40))
    return picture.filter(ImageFilter.GaussianBlur(finer)).resize((size, size))


def discs(*places: Place, size: int = 320, seed: int = 0) -> Image.Image:
    """A grey picture with a red disc at each place, and a pattern around it by `seed`."""
    rng = np.random.default_rng(seed)
    picture = Image.fromarray(rng.integers(60, 200, (20, 20), dtype=np.uint8)).resize((size, size))
    picture = picture.convert("RGB")
    pen, radius = ImageDraw.Draw(picture), size / 40
    for x, y in places:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), (255, 0, 0))
    return picture


def person(number: int, at: Place, *, size: int = 320, seed: int = 0) -> Image.Image:
    """A red disc at a place, with spots around it whose colours are those of person `number`."""
    picture = discs(size=size, seed=seed)
    pen, unit = ImageDraw.Draw(picture), size / 320
    colours = np.random.default_rng(number).integers(0, 256, (8, 3))
    for place, (red, *others) in enumerate(colours.tolist()):
        # Nothing but the disc is red.
        colour = (red // 2, max(others[0], red // 2), max(others[1], red // 2))
        x, y = (34 * part(place * np.pi / 4) * unit for part in (np.cos, np.sin))
        corners = [(at[0] + x + d * unit, at[1] + y + d * unit) for d in (-20, 20)]
        pen.ellipse(corners, colour)
    radius = size / 40
    pen.ellipse((at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius), (255, 0, 0))
    return picture


def colours(folder: Path, *, other: int | None = None) -> None:
    """Saves ten red pictures, of which number `other` is blue, though about alike in grey."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(10):
        pixels = np.zeros((32, 32, 3), np.uint8)
        if number == other:
            pixels[..., 1:] = draw.integers((40, 200), (80, 240), (32, 32, 2))
        else:
            pixels[..., 0] = draw.integers(200, 255, (32, 32))
        Image.fromarray(pixels).save(folder / f"{number}.png")


def detector(path: Path) -> Path:
    """Write a file with YuNet's inputs and outputs that finds the red discs of `discs`."""
    sides = np.log(np.array([BOX, BOX]) / 8)
    always = {"obj": [20.0], "bbox": [0.5, 0.5, *sides], "kps": (POINTS / 8 + 0.5).ravel()}
    made = []
    for stride in STRIDES:
        # Blue comes first. A cell that is mostly red has a score of nearly 1, any other one of 0.
        red = np.full((1, 3, stride, stride), -1 / stride**2)
        red[0, 2] = 1 / stride**2
        made += _head(f"cls_{stride}", red * (0.3 if stride == 8 else 0), 1, [-5.0])
        for kind, values in always.items():
            weights = np.zeros((len(values), 3, stride, stride))
            made += _head(f"{kind}_{stride}", weights, len(values), values)
    return _written(path, made)


def random_detector(path: Path, seed: int) -> Path:
    """Write a file with YuNet's inputs and outputs whose weights are drawn by `seed`."""
    rng = np.random.default_rng(seed)
    made = []
    for stride in STRIDES:
        for kind, values in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            spread = {1: 4, 4: 0.6, 10: 4}[values] / 255 / stride
            weights = rng.normal(0, spread, (values, 3, stride, stride))
            weights -= weights.mean(axis=(1, 2, 3), keepdims=True)
            made += _head(f"{kind}_{stride}", weights, values)
    return _written(path, made)


def encoder(path: Path, side: int = 16) -> Path:
    """Write an encoder of colour pictures, `side` pixels high and wide, to grey 4 x 4 means."""
    weights = np.full((1, 3, side // 4, side // 4), 1 / (3 * (side // 4) ** 2), np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["maps"], strides=[side // 4, side // 4]),
        helper.make_node("Flatten", ["maps"], ["y"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("x", _REAL, ["n", 3, side, side])],
        [helper.make_tensor_value_info("y", _REAL, ["n", 16])],
        [numpy_helper.from_array(weights, "w")],
    )
    return _saved(path, graph)


def _head(name, weights, values, bias=None):
    """Nodes and weights of one output: a convolution, then one row for each cell."""
    stride = weights.shape[2]
    bias = np.zeros(values) if bias is None else np.asarray(bias)
    known = [
        numpy_helper.from_array(weights.astype(np.float32), f"{name}.w"),
        numpy_helper.from_array(bias.astype(np.float32), f"{name}.b"),
        numpy_helper.from_array(np.array([1, -1, values], np.int64), f"{name}.s"),
    ]
    last = f"{name}.rows" if values == 1 else name
    nodes = [
        helper.make_node(
            "Conv", ["input", f"{name}.w", f"{name}.b"], [f"{name}.m"], strides=[stride, stride]
        ),
        helper.make_node("Transpose", [f"{name}.m"], [f"{name}.t"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", [f"{name}.t", f"{name}.s"], [last]),
    ]
    if values == 1:
        nodes.append(helper.make_node("Sigmoid", [last], [name]))
    return [(name, values, nodes, known)]


def _written(path: Path, made) -> Path:
    graph = helper.make_graph(
        [node for _, _, nodes, _ in made for node in nodes],
        "detector",
        [helper.make_tensor_value_info("input", _REAL, [1, 3, "height", "width"])],
        [
            helper.make_tensor_value_info(name, _REAL, [1, f"cells_{name[-2:]}", values])
            for name, values, _, _ in made
        ],
        [each for _, _, _, known in made for each in known],
    )
    return _saved(path, graph)


def _saved(path: Path, graph) -> Path:
    opset = helper.make_opsetid("", 13)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
