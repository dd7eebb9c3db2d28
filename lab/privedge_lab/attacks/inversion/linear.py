"""Linear inversion: ridge regression from what is seen to the pixels, in closed form.

Bad training is impossible here. If this attack finds nothing, there is nothing linear to find.
"""

import torch

from privedge_lab.attacks.views import BlackBoxView

_PENALTIES = (1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
_HELD_OUT = 0.2
_FLAT_STD = 1e-6


def linear(view: BlackBoxView) -> torch.Tensor:
    """Reconstruct images float32 (n, C, H, W) in [0, 1], one for each row of `view.sent`.

    The penalty is chosen on the last fifth of the known images.
    """
    known = view.ask(view.known.images).flatten(1).double()
    mean_image = view.known.images.flatten(1).double().mean(0)
    pixels = view.known.images.flatten(1).double() - mean_image
    mean, std = known.mean(0), known.std(0)
    std = torch.where(std > _FLAT_STD, std, torch.ones_like(std))
    # Rows get about length 1, so that a penalty means the same for every number of values.
    scale = std * known.shape[1] ** 0.5
    known, sent = (known - mean) / scale, (view.sent.flatten(1).double() - mean) / scale
    # The dual form: there are more values than images.
    gram = known @ known.T
    ours = round(len(known) * (1 - _HELD_OUT))
    held_out = gram[ours:, :ours], pixels[ours:]
    penalty = min(
        _PENALTIES,
        key=lambda each: float(
            (held_out[0] @ _weights(gram[:ours, :ours], pixels[:ours], each) - held_out[1])
            .square()
            .mean()
        ),
    )
    gaps: torch.Tensor = (sent @ known.T) @ _weights(gram, pixels, penalty)
    return (gaps + mean_image).float().clamp(0, 1).reshape(-1, *view.known.images.shape[1:])


def _weights(gram: torch.Tensor, pixels: torch.Tensor, penalty: float) -> torch.Tensor:
    weights: torch.Tensor = torch.linalg.solve(
        gram + penalty * torch.eye(len(gram), dtype=gram.dtype), pixels
    )
    return weights
