"""Products with marked parameters are fixed products (docs/protocol.md#fixed-products).

    x.matmul(w.t())         dense: w is (O, D), x (..., D)
    x.matmul(w)             dense_back: w is (O, D), x (..., O)
    the same with a w of (N, O, D), and x (1 or N, B, ...)
    x.conv2d(w, ...)        conv: w is (O, C, K, K), x (B, C, H, W)

A convolution has one group, one stride and no dilation. Anything else opens the weight under fresh
masks, as Beaver's products do.
"""

from typing import Any

import torch

from parties.mpc.crypten_backend import marks, running
from parties.mpc.engine import Weight
from parties.mpc.products import Map
from parties.mpc.window import Window


def fixed_product(x: torch.Tensor, y: Any, op: str, options: dict[str, Any]) -> torch.Tensor | None:
    """Shares of x (op) y, int64, if y is a marked parameter and this is a fixed product; else None.
    One round, and in the first query of a model others, in which its weights are opened masked.
    """
    mark = marks.current(y)
    if mark is None or not running.protocols().fixes_weights:
        return None
    if op == "matmul" and y._tensor.dim() in (2, 3):
        return _dense(x, y._tensor, mark)
    if op == "conv2d" and not mark.transposed and x.dim() == 4:
        return _convolved(x, y._tensor, mark, options)
    return None


def _dense(x: torch.Tensor, weight: torch.Tensor, mark: marks.Mark) -> torch.Tensor | None:
    if weight.dim() == 3 and (x.dim() != 3 or x.size(0) not in (1, weight.size(0))):
        return None
    if x.dim() < 1 or x.size(-1) != weight.size(-2):
        return None
    own = mark.words if weight.dim() == 3 else mark.words.unsqueeze(0)
    rows = x if weight.dim() == 3 else x.reshape(1, -1, x.size(-1))
    kind: Map = "dense" if mark.transposed else "dense_back"
    words = running.protocols().products(kind, rows, [Weight(mark.name("dense"), own)])[0]
    return words if weight.dim() == 3 else words.view(*x.shape[:-1], weight.size(-1))


def _convolved(
    x: torch.Tensor, weight: torch.Tensor, mark: marks.Mark, options: dict[str, Any]
) -> torch.Tensor | None:
    stride, padding = _pair(options.get("stride", 1)), _pair(options.get("padding", 0))
    if options.get("groups", 1) != 1 or _pair(options.get("dilation", 1)) != (1, 1):
        return None
    if stride[0] != stride[1]:
        return None
    window = Window(stride[0], 1, (padding[1], padding[1], padding[0], padding[0]))
    named = Weight(
        mark.name(f"conv {tuple(x.shape[1:])} {window.stride} {window.padding}"),
        weight.unsqueeze(0),
    )
    return running.protocols().products("conv", x.unsqueeze(1), [named], window)[0].squeeze(1)


def _pair(option: Any) -> tuple[int, int]:
    return (option, option) if isinstance(option, int) else (option[0], option[-1])
