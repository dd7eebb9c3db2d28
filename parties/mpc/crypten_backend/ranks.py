"""Products of factors of any rank, as products that the dealer has tuples for."""

from typing import Any

import torch

from parties.mpc.convolution_product import AXES
from parties.mpc.crypten_backend import running
from parties.mpc.crypten_backend.provider import MOST_DIMENSIONS


def secret_product(
    op: str, x: torch.Tensor, y: torch.Tensor, options: dict[str, Any]
) -> torch.Tensor:
    """Shares of torch's x (op) y from shares of both, int64. One round; none for no element."""
    if not x.numel() or not y.numel():
        # Nothing is secret of no number: the shape is torch's.
        empty: torch.Tensor = getattr(torch, op)(x, y, **options)
        return empty
    if op == "mul":
        return _multiplied(x, y)
    if op == "matmul":
        return _matrices(x, y)
    if op in AXES and x.dim() == AXES[op] + 1:
        return _product(op, x.unsqueeze(0), y, options).squeeze(0)
    return _product(op, x, y, options)


def _multiplied(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    if min(x.dim(), y.dim()) >= 1 and max(x.dim(), y.dim()) <= MOST_DIMENSIONS:
        return _product("mul", x, y, {})
    first, second = torch.broadcast_tensors(x, y)
    return _product("mul", first.reshape(-1), second.reshape(-1), {}).view(first.shape)


def _matrices(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A vector is a row on the left, a column on the right, as torch has it."""
    left = x.unsqueeze(0) if x.dim() == 1 else x
    right = y.unsqueeze(1) if y.dim() == 1 else y
    product = _product("matmul", left, right, {})
    product = product.squeeze(-1) if y.dim() == 1 else product
    if x.dim() == 1:
        return product.squeeze(-1 if y.dim() == 1 else -2)
    return product


def _product(op: str, x: torch.Tensor, y: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
    return running.protocols().product(op, x, y, options)
