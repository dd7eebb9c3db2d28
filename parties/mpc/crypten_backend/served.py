"""A served model as a CrypTen program, from shares of its input to shares of what may leave.

    1.  [x]   widened: whatever was sent, |x| < 192                              one round
    2.  [s]   the scores, layer by layer, by CrypTen's operations
    3.  [a]   a one-hot of the greatest score; or the scores; or the scores rounded

The graph is data (privedge/graph), and so are shapes, rounds and bytes: both parties know them.
Parameters, input and all values in between are shared, and what is opened is masked.
"""

from typing import Any

import torch

from parties.mpc.crypten_backend import running
from parties.mpc.crypten_backend.load import FixedPointEncoder, crypten
from parties.mpc.crypten_backend.programs import fix, marking
from parties.mpc.crypten_backend.tensors import made, wrapped
from parties.mpc.fused import compare
from parties.mpc.fused.tuples import EXACT_BITS
from privedge.graph.layers import (
    Add,
    AveragePool,
    Conv,
    Dense,
    Flatten,
    Layer,
    MaxPool,
    Relu,
    Square,
    source,
)
from privedge.graph.spec import WORD_BITS, Label, ModelSpec, Rounded
from privedge.sharing.fixed_point import FRACTIONAL_BITS

Number = Any  # MPCTensor; CrypTen is untyped


class Served(crypten.nn.Module):  # type: ignore[misc]  # CrypTen is untyped
    """crypten.nn.Module of a ModelSpec."""

    def __init__(self, spec: ModelSpec, parameters: dict[str, torch.Tensor]) -> None:
        """`parameters`: this party's shares by name, int64 of the spec's shapes, at scale 2^16."""
        super().__init__()
        self._spec = spec
        for name, words in parameters.items():
            self.register_parameter(name, _number(words), requires_grad=False)
        self.encrypted = True
        self.eval()

    def forward(self, x: Number) -> Number:
        """The scores (B, scores) of inputs (B, *input_shape)."""
        values: list[Number] = []
        for index, layer in enumerate(self._spec.layers):
            place = source(layer, index)
            before = x if place < 0 else values[place]
            if isinstance(layer, Add):
                values.append(before + (x if layer.plus < 0 else values[layer.plus]))
            else:
                values.append(self._applied(layer, index, before))
        return values[-1]

    def _applied(self, layer: Layer, index: int, x: Number) -> Number:
        match layer:
            case Conv() | MaxPool() | AveragePool() if x.dim() == 3:
                # A signal is a map of height 1.
                return self._windowed(layer, index, x.unsqueeze(2))[:, :, 0]
            case Conv() | MaxPool() | AveragePool():
                return self._windowed(layer, index, x)
            case Dense():
                weight, bias = self._of(index)
                return x.matmul(weight.t()) + bias
            case Relu():
                return x.relu()
            case Square():
                return x.square()
            case Flatten():
                return x.flatten(start_dim=1)
        raise AssertionError(layer.kind)

    def _windowed(self, layer: Conv | MaxPool | AveragePool, index: int, x: Number) -> Number:
        """The same for maps (B, channels, height, width)."""
        match layer:
            case Conv(stride=stride, padding=padding):
                weight, bias = self._of(index)
                maps = x.conv2d(weight, stride=stride, padding=padding)
                return maps + bias.view(1, -1, 1, 1)
            case MaxPool(window=window, stride=stride):
                return x.max_pool2d((min(window, x.size(2)), window), stride=stride)
            case AveragePool(window=window, stride=stride):
                return x.avg_pool2d(window, stride=stride)

    def _of(self, index: int) -> tuple[Number, Number]:
        return self._parameters[f"{index}.weight"], self._parameters[f"{index}.bias"]


def answered(
    spec: ModelSpec, parameters: dict[str, torch.Tensor], share: torch.Tensor
) -> torch.Tensor:
    """This party's share of the answers, int64 (B, spec.width), as `spec.outputs` allows. The
    calling thread has protocols.

    parameters: by name, int64 of the spec's shapes at scale 2^16.
    share: of the inputs, int64 (B, *input_shape), modulo 2^24 at scale 2^16.
    """
    protocols = running.protocols()
    if not isinstance(spec.outputs, Label):
        # Truncation to within one unit goes up as often as the bits that it cuts say. Scores would
        # pass that on from every layer, and the mean of many answers would tell those bits.
        protocols.round_exactly()
    with marking(), crypten.no_grad():
        with protocols.phase("network"):
            # 1. The range check: no word can be outside of it, so there is nothing to refuse.
            words = protocols.widened(share, bits=WORD_BITS)
            model = Served(spec, parameters)
            fix(model)
            # 2.
            scores = model(_number(words))
        with protocols.phase("decision"):
            return _leaving(scores, spec)


def _leaving(scores: Number, spec: ModelSpec) -> torch.Tensor:
    """Step 3."""
    if isinstance(spec.outputs, Label):
        return _one_hot(scores)
    words = _cut(scores._tensor._tensor, scores._tensor._late)
    if not isinstance(spec.outputs, Rounded):
        return words
    bits = FRACTIONAL_BITS - spec.outputs.bits
    half = words + (1 << (bits - 1)) if running.party() == 0 else words
    return _cut(half, bits)


def _cut(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Shares of floor(x / 2^bits), int64 of any shape, for 0 to 16 bits. Three rounds."""
    if not bits:
        return words
    moved = words << (EXACT_BITS - bits)
    return compare.truncated(running.session(), moved, bits=EXACT_BITS)


def _one_hot(scores: Number) -> torch.Tensor:
    """Of (B, n) scores which is the greatest, the earlier one of equal ones; of one score alone
    whether it is above 0: (B, 2).
    """
    if scores.size(1) > 1:
        hot: torch.Tensor = scores.argmax(dim=1)._tensor.share
        return hot
    positive = (-scores)._ltz()
    row: torch.Tensor = crypten.cat([1 - positive, positive], dim=1)._tensor.share
    return row


def _number(words: torch.Tensor) -> Number:
    return wrapped(made(words, FixedPointEncoder()))
