"""Train a reconstructor R against a discriminator D (docs/explanation/references.md#privedge).

    D:  0.5 * (|D(x) - 1|^2 + |D(R(x)) - 0|^2)                     LSGAN, means over patches
    R:  mse_weight * |R(x) - x|^2 + adversarial_weight * |D(R(x)) - 1|^2

`adversarial_loss` may replace the two terms with D (docs/results/evaluation.md#the-adversarial-term
compares them):

    hinge     D: 0.5 * (max(0, 1 - D(x)) + max(0, 1 + D(R(x))));  R: -D(R(x))
    features  D as in LSGAN;  R: |h(R(x)) - h(x)|^2, the mean over D's hidden layers h

A step draws three batches: real ones for D, fake ones for D, and one for R. Training keeps the R
with the least error on the owner's validation features. The original code chose by its test images.

Sees plaintext features; owner's device only. All randomness comes from one seeded CPU generator.
"""

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, relu

from privedge.arrays import Features
from privedge.errors import TrainingError
from privedge.ran.discriminator import Discriminator
from privedge.ran.model import Reconstructor, initialise
from privedge.ran.spec import RanSpec
from privedge.user import subspace
from privedge.user.settings import TrainSettings

_BETAS = (0.5, 0.999)
# Validation features that are reconstructed at once.
_BATCH = 256


class Contest:
    """R, D and the complete state of their training. `step` counts the steps done."""

    def __init__(self, spec: RanSpec, settings: TrainSettings, device: torch.device) -> None:
        self._settings, self._device = settings, device
        self._generator = torch.Generator().manual_seed(settings.seed)
        self._r = Reconstructor(spec)
        self._d = Discriminator(spec.input_shape, settings.discriminator_width)
        for network in (self._r, self._d):
            initialise(network, self._generator)
            network.to(device)
        rate = settings.learning_rate
        self._adam_r = torch.optim.Adam(self._r.parameters(), rate, _BETAS, fused=True)
        self._adam_d = torch.optim.Adam(self._d.parameters(), rate, _BETAS, fused=True)
        self._keep()
        self.best_error, self.best_step, self.step = float("inf"), 0, 0
        # The caller of `advance` counts these, and they are saved with the state.
        self.seconds = self.wall_seconds = 0.0
        self._losses, self._summed = torch.zeros((), device=device), 0

    def start_linear(self, spec: RanSpec, features: Features) -> None:
        """Begin with the weights with which R is the best linear reconstructor of these features.

        features: float32 (n, *spec.input_shape). Raises TrainingError if no weights are.
        """
        drawn = {name: value.numpy() for name, value in self.best().items()}
        parameters = subspace.start(spec, features, drawn)
        self._r.load_state_dict({name: torch.from_numpy(p) for name, p in parameters.items()})
        self._keep()

    def advance(self, features: Tensor) -> None:
        """Train D and R for one step.

        features: float32 (n, *spec.input_shape), on the device.
        """
        if self._settings.adversarial_weight > 0:
            self._step_d(self._draw(features), self._draw(features))
        self._step_r(self._draw(features))
        self.step += 1

    def look(self, validation: Tensor) -> float:
        """Return the mean squared error on `validation`, and keep R if it is the best so far.

        validation: float32 (n, *spec.input_shape), on the device.

        Raises TrainingError if the error is not finite. R never recovers from a broken step, so
        every one is found here.
        """
        error = self._error(validation)
        if not error < float("inf"):
            raise TrainingError(
                f"training diverged before step {self.step}; "
                "use another seed or a smaller learning rate"
            )
        if error < self.best_error:
            self.best_error, self.best_step = error, self.step
            self._keep()
        return error

    def mean_loss(self) -> float:
        """Return the mean of R's loss over the steps since the last call; NaN without steps."""
        mean = float(self._losses) / self._summed if self._summed else float("nan")
        self._losses, self._summed = torch.zeros_like(self._losses), 0
        return mean

    def best(self) -> dict[str, Tensor]:
        """Return the parameters of the best R so far, on the CPU."""
        return {name: value.cpu() for name, value in self._best.items()}

    def _draw(self, features: Tensor) -> Tensor:
        size = (self._settings.batch,)
        index = torch.randint(len(features), size, generator=self._generator)
        return features[index.to(self._device)]

    def _step_d(self, real: Tensor, seen: Tensor) -> None:
        with torch.no_grad():
            fake = self._r(seen)
        self._adam_d.zero_grad()
        # One pass for both batches: D normalises each sample alone, so the batches do not mix.
        on_real, on_fake = self._d(torch.cat([real, fake])).chunk(2)
        if self._settings.adversarial_loss == "hinge":
            loss = 0.5 * (relu(1 - on_real).mean() + relu(1 + on_fake).mean())
        else:
            loss = 0.5 * (
                mse_loss(on_real, torch.ones_like(on_real))
                + mse_loss(on_fake, torch.zeros_like(on_fake))
            )
        torch.autograd.backward(loss)
        self._adam_d.step()

    def _step_r(self, batch: Tensor) -> None:
        self._adam_r.zero_grad()
        reconstruction = self._r(batch)
        loss = self._settings.mse_weight * mse_loss(reconstruction, batch)
        if self._settings.adversarial_weight > 0:
            self._d.requires_grad_(False)
            loss = loss + self._settings.adversarial_weight * self._told(reconstruction, batch)
            self._d.requires_grad_(True)
        torch.autograd.backward(loss)
        self._losses, self._summed = self._losses + loss.detach(), self._summed + 1
        self._adam_r.step()

    def _told(self, reconstruction: Tensor, batch: Tensor) -> Tensor:
        """Return the adversarial term of R's loss."""
        if self._settings.adversarial_loss == "features":
            pairs = zip(self._d.hidden(reconstruction), self._d.hidden(batch), strict=True)
            return torch.stack([mse_loss(ours, theirs) for ours, theirs in pairs]).mean()
        score: Tensor = self._d(reconstruction)
        if self._settings.adversarial_loss == "hinge":
            return -score.mean()
        return mse_loss(score, torch.ones_like(score))

    def _error(self, validation: Tensor) -> float:
        with torch.no_grad():
            parts = [
                (self._r(validation[i : i + _BATCH]) - validation[i : i + _BATCH]).square().sum()
                for i in range(0, len(validation), _BATCH)
            ]
        return float(torch.stack(parts).sum()) / validation.numel()

    def _keep(self) -> None:
        self._best = {name: value.clone() for name, value in self._r.state_dict().items()}

    # --- Saving and going on ---------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Return all state that is a tensor, by name, on the CPU."""
        named = {"generator": self._generator.get_state(), "losses": self._losses}
        for prefix, state in self._states().items():
            named |= {f"{prefix}.{name}": value for name, value in state.items()}
        return {name: value.detach().cpu().contiguous() for name, value in named.items()}

    def restore(self, tensors: dict[str, Tensor], counts: dict[str, Any]) -> None:
        """Restore the state that `tensors()` and `counts()` of an equal contest returned."""
        self._generator.set_state(tensors["generator"])
        self._r.load_state_dict(_under("r", tensors))
        self._d.load_state_dict(_under("d", tensors))
        _load_adam(self._adam_r, _under("adam_r", tensors))
        _load_adam(self._adam_d, _under("adam_d", tensors))
        best = _under("best", tensors)
        self._best = {name: best[name].to(self._device) for name in self._best}
        self.step = int(counts["step"])
        self.best_step, self.best_error = int(counts["best_step"]), float(counts["best_error"])
        self.seconds = float(counts.get("seconds", 0.0))
        self.wall_seconds = float(counts.get("wall_seconds", 0.0))
        # Unfinished trainings of before have no losses; they only tell a mean.
        self._summed = int(counts.get("summed", 0))
        self._losses = tensors.get("losses", torch.zeros(())).to(self._device)

    def counts(self) -> dict[str, Any]:
        """Return all state that is a number, by name."""
        named = ("step", "best_step", "best_error", "seconds", "wall_seconds")
        return {name: getattr(self, name) for name in named} | {"summed": self._summed}

    def _states(self) -> dict[str, dict[str, Tensor]]:
        return {
            "r": self._r.state_dict(),
            "d": self._d.state_dict(),
            "adam_r": _adam_state(self._adam_r),
            "adam_d": _adam_state(self._adam_d),
            "best": self._best,
        }


def fingerprint(settings: TrainSettings) -> dict[str, Any]:
    """Return the settings that a resumed run must share with the run it continues."""
    free = ("steps", "device", "threads", "files", "largest_face", "threshold_quantile")
    shared = {name: value for name, value in asdict(settings).items() if name not in free}
    if settings.adversarial_loss == TrainSettings.adversarial_loss:
        del shared["adversarial_loss"]  # unfinished trainings of before have none
    if settings.start == TrainSettings.start:
        del shared["start"]  # nor this
    return shared


def _adam_state(adam: torch.optim.Adam) -> dict[str, Tensor]:
    per_parameter = adam.state_dict()["state"]
    return {
        f"{index}.{name}": value
        for index, state in per_parameter.items()
        for name, value in state.items()
    }


def _load_adam(adam: torch.optim.Adam, named: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in named.items():
        index, _, field = name.partition(".")
        state.setdefault(int(index), {})[field] = value
    adam.load_state_dict({"state": state, "param_groups": adam.state_dict()["param_groups"]})


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = prefix + "."
    return {name[len(start) :]: v for name, v in tensors.items() if name.startswith(start)}


def device_for(wanted: str) -> torch.device:
    """Return the torch device for a setting; "auto" is CUDA if there is one.

    Raises TrainingError if CUDA is wanted but missing.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device: there is no CUDA here; use auto or cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
