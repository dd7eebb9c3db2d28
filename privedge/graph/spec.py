"""ModelSpec: a served model's graph as data, and what may leave of its answers.

A cohort of kind "model" has one such spec, and its digest binds both parties and the owner: to the
graph, to all shapes and to the kind of answer. Parameters travel apart, as shares. A spec comes
from others, so everything in it is bounded, and what does not fit is refused in one line.
"""

import hashlib
import json
import math
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from privedge.errors import CheckpointError
from privedge.graph.layers import (
    Add,
    Frozen,
    Layer,
    Shape,
    comparisons,
    output_shape,
    parameters,
    products,
    source,
    unfolded,
)

# Of one text. 128 layers need a tenth of it, and labels the rest.
MAX_JSON_BYTES = 1 << 17
# Of a rounded score.
MOST_BITS = 12
# Words of a query: values below 64 (privedge/ran/narrow.py).
WORD_BITS = 24

# Of one model.
MOST_PARAMETERS = 1 << 24
# For one sample.
_MOST_VALUES = 1 << 18
# Of one layer, in a run: a party and the dealer hold them all at once, and a comparison takes some
# words.
_MOST_UNFOLDED, _MOST_COMPARED = 1 << 24, 1 << 22
_MOST_PRODUCTS, _MOST_COMPARISONS = 1 << 30, 1 << 20
_MOST_OUTPUTS = 1024

# No control characters, and none that turn the direction of a text.
_Label = Annotated[
    str,
    StringConstraints(
        pattern=r"^[^\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]{1,64}$"
    ),
]
_Extent = Annotated[int, Field(ge=1, le=1 << 16)]


class Label(Frozen):
    """Only which score is the greatest leaves; the earlier one of equal ones."""

    kind: Literal["label"] = "label"

    @property
    def word(self) -> str:
        """As an operator writes it."""
        return self.kind


class Scores(Frozen):
    """The scores leave, to 2^-16."""

    kind: Literal["scores"] = "scores"

    @property
    def word(self) -> str:
        """As an operator writes it."""
        return self.kind


class Rounded(Frozen):
    """The scores leave, rounded to multiples of 2^-bits."""

    kind: Literal["rounded"] = "rounded"
    bits: int = Field(ge=0, le=MOST_BITS)

    @property
    def word(self) -> str:
        """As an operator writes it: "rounded:4"."""
        return f"rounded:{self.bits}"


Outputs = Annotated[Label | Scores | Rounded, Field(discriminator="kind")]


class ModelSpec(Frozen):
    """The graph of a served model. Equal specs have equal digests.

    Attributes:
        name: for people.
        input: the shape of one sample: (features,), (channels, length) or (channels, height,
            width).
        layers: from the closed list of privedge/graph/layers.py. The last one gives the scores.
        outputs: what leaves of the scores.
        labels: what the scores are called, in order; empty if they have no names.

    Example:
        spec = Model.from_onnx("net.onnx", owner="clinic", name="triage").spec
        assert ModelSpec.from_json(spec.to_json()).digest() == spec.digest()
    """

    kind: Literal["model"] = "model"
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    input: Annotated[tuple[_Extent, ...], Field(min_length=1, max_length=3, strict=False)]
    layers: Annotated[tuple[Layer, ...], Field(min_length=1, max_length=128, strict=False)]
    outputs: Outputs = Label()
    labels: Annotated[tuple[_Label, ...], Field(max_length=_MOST_OUTPUTS, strict=False)] = ()

    @property
    def input_shape(self) -> Shape:
        """The shape of one sample."""
        return self.input

    def shapes(self) -> list[Shape]:
        """Compute the shape after each layer, without the batch axis.

        Raises:
            CheckpointError: a layer does not fit its input, the last one gives no scores, or the
                model is too large.
        """
        found: list[Shape] = []
        for index, layer in enumerate(self.layers):
            where = f"layer {index} ({layer.kind})"
            shape = output_shape(layer, self._before(layer, index, found, where), where)
            if isinstance(layer, Add) and self._at(layer.plus, found, where) != shape:
                raise CheckpointError(f"{where}: what is added has other shapes")
            found.append(shape)
        self._check(found)
        return found

    def _before(self, layer: Layer, index: int, found: list[Shape], where: str) -> Shape:
        return self._at(source(layer, index), found, where)

    def _at(self, place: int, found: list[Shape], where: str) -> Shape:
        if place >= len(found):
            raise CheckpointError(f"{where}: takes the output of a layer that comes later")
        return self.input if place < 0 else found[place]

    def _check(self, found: list[Shape]) -> None:
        what = f"model {self.name}"
        if len(found[-1]) != 1 or found[-1][0] > _MOST_OUTPUTS:
            raise CheckpointError(
                f"{what}: its last layer gives {found[-1]}, not up to {_MOST_OUTPUTS} scores"
            )
        classes = _classes(found[-1][0])
        if self.labels and len(self.labels) != classes:
            raise CheckpointError(f"{what}: has {len(self.labels)} labels for {classes} classes")
        steps = self._steps(found)
        sizes = {
            "values in one layer": (max(map(math.prod, [self.input, *found])), _MOST_VALUES),
            "parameters": (
                sum(math.prod(each) for each in self._parameters(steps).values()),
                MOST_PARAMETERS,
            ),
            "numbers in the windows of one layer": (
                max(unfolded(*step) for step in steps),
                _MOST_UNFOLDED,
            ),
            "products": (sum(products(*step) for step in steps), _MOST_PRODUCTS),
            "comparisons": (sum(comparisons(*step) for step in steps), _MOST_COMPARISONS),
        }
        for name, (size, most) in sizes.items():
            if size > most:
                raise CheckpointError(f"{what}: {size} {name} are more than {most}")

    def _steps(self, found: list[Shape]) -> list[tuple[Layer, Shape, Shape]]:
        """Each layer, and the shapes before and after it."""
        return [
            (layer, self._before(layer, index, found, ""), found[index])
            for index, layer in enumerate(self.layers)
        ]

    @property
    def most_rows(self) -> int:
        """How many samples fit into one run; fewer of a large model."""
        steps = self._steps(self.shapes())
        held = max(unfolded(*step) for step in steps)
        compared = max(1, *(comparisons(*step) for step in steps))
        return min(_MOST_UNFOLDED // held, _MOST_COMPARED // compared)

    @property
    def scores(self) -> int:
        """How many scores the last layer gives."""
        return self.shapes()[-1][0]

    @property
    def classes(self) -> int:
        """How many labels there are: one score alone tells two classes apart."""
        return _classes(self.scores)

    @property
    def width(self) -> int:
        """How many words one answer has: a one-hot of the classes, or the scores."""
        return self.classes if isinstance(self.outputs, Label) else self.scores

    @property
    def fractional_bits(self) -> int:
        """The scale of an answer's words is 2 to this power."""
        match self.outputs:
            case Label():
                return 0
            case Rounded(bits=bits):
                return bits
            case _:
                return 16

    @property
    def in_words(self) -> str:
        """What it takes and gives: "inputs of 1x28x28; model lenet answers with label"."""
        size = "x".join(map(str, self.input))
        return f"inputs of {size}; model {self.name} answers with {self.outputs.word}"

    def parameters(self) -> dict[str, Shape]:
        """List the names and shapes of all parameter tensors (float32), in upload order.

        Raises:
            CheckpointError: as for `shapes`.
        """
        return self._parameters(self._steps(self.shapes()))

    @staticmethod
    def _parameters(steps: list[tuple[Layer, Shape, Shape]]) -> dict[str, Shape]:
        return {
            f"{index}.{name}": shape
            for index, (layer, before, _) in enumerate(steps)
            for name, shape in parameters(layer, before).items()
        }

    def to_json(self) -> str:
        """Return the spec as canonical JSON: sorted keys, no spaces."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> "ModelSpec":
        """Parse and check the text of a spec, which may be anybody's.

        Raises:
            CheckpointError: the text is no valid spec; the message names the fault.
        """
        if len(text) > MAX_JSON_BYTES:
            raise CheckpointError(f"model: its text is longer than {MAX_JSON_BYTES} characters")
        try:
            spec = ModelSpec.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])[:80]
            said = first["msg"].removeprefix("Value error, ")[:120]
            raise CheckpointError(": ".join(filter(None, ("model", where, said)))) from None
        spec.shapes()
        return spec

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON, as 64 hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def _classes(scores: int) -> int:
    """One score alone tells two classes apart."""
    return max(2, scores)


def outputs_of(word: str) -> Outputs:
    """What `label`, `scores` or `rounded:BITS` means. Raises CheckpointError."""
    kind, _, bits = word.partition(":")
    if word in ("label", "scores"):
        return Label() if word == "label" else Scores()
    if kind == "rounded" and bits.isascii() and bits.isdigit() and int(bits[:3]) <= MOST_BITS:
        return Rounded(bits=int(bits))
    raise CheckpointError(
        f"outputs: must be label, scores or rounded:BITS with 0 to {MOST_BITS} bits"
    )


def is_model(described: Any) -> bool:
    """Whether parsed JSON says that it is such a spec, and no RanSpec."""
    return isinstance(described, dict) and described.get("kind") == "model"
