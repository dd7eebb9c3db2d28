"""The settings of a training: every choice but the architecture, and each preset's defaults."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from privedge.errors import ConfigError
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.ran.spec import RanSpec


@dataclass(frozen=True)
class TrainSettings:
    """Settings of one training run. The same settings and images give the same RAN, bit for bit,
    but for the noise of differential privacy.

    steps                 optimiser steps; must be 0 for a closed form
    batch                 images per step, drawn with replacement
    learning_rate         Adam's learning rate, for R and D alike; beta1 is 0.5
    mse_weight            weight of the mean squared error in the reconstructor's loss
    adversarial_weight    weight of the adversarial term; 0 trains no discriminator
    adversarial_loss      what that term is (privedge/user/adversarial.py)
    discriminator_width   maps after the discriminator's first stage
    validation_share      share of the owner's images that is held out to choose the best step
    check_every           steps between two checks on the validation images
    start                 first weights: random, or those of the owner's principal components
    seed                  seed of the split, the first weights and the batches
    threshold_quantile    quantile of the validation errors for the owner's threshold; None: none
    device                "auto" uses CUDA if there is one
    threads               torch's threads on a CPU; None leaves torch's own number
    files                 where the public files are that the spec names
    largest_face          whether the largest of several faces in a picture is meant
    dp_epsilon, dp_delta  train a subspace with this differential privacy; None: without
    dp_norm               the length to which it clips features; None: the preset's public bound
    """

    steps: int = 0
    batch: int = 32
    learning_rate: float = 1e-3
    mse_weight: float = 0.999
    adversarial_weight: float = 0.001
    adversarial_loss: Literal["least-squares", "hinge", "features"] = "least-squares"
    discriminator_width: int = 16
    validation_share: float = 0.1
    check_every: int = 25
    start: Literal["random", "components"] = "random"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    threshold_quantile: float | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Field(ge=1)] | None = 1
    files: PublicFiles = NO_FILES
    largest_face: bool = False
    dp_epsilon: float | None = None
    dp_delta: float = 1e-5
    dp_norm: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold, for another process."""
        return asdict(self) | {"files": self.files.to_dict()}

    @staticmethod
    def from_dict(told: Mapping[str, Any]) -> "TrainSettings":
        """Return the settings that `to_dict` was called on."""
        return TrainSettings(**{**told, "files": PublicFiles.at(**told["files"])})


_DEFAULTS = {
    # docs/explanation/references.md#privedge: 30,000 single batches of 128.
    "paper": TrainSettings(
        steps=30_000,
        batch=128,
        learning_rate=2e-4,
        discriminator_width=64,
        check_every=100,
        threads=None,
    ),
    "conv32": TrainSettings(steps=1000, batch=32),
    "conv64": TrainSettings(steps=1000, batch=32, threads=None),
    "ran32": TrainSettings(steps=900, batch=32),
    "ran64": TrainSettings(steps=900, batch=32),
    "ran32-fine": TrainSettings(
        steps=300, learning_rate=2e-4, adversarial_weight=1e-5, start="components"
    ),
    "ran64-fine": TrainSettings(
        steps=300, learning_rate=2e-4, adversarial_weight=1e-5, start="components"
    ),
    "ran-encoder": TrainSettings(steps=900, batch=32),
}


def settings_for(spec: RanSpec, **changes: Any) -> TrainSettings:
    """Return the defaults of the preset, with `changes` (fields of TrainSettings) applied.

    Raises ConfigError for a field that there is not, or a value of another type.
    """
    kinds = get_type_hints(TrainSettings, include_extras=True)
    for name, value in changes.items():
        if name not in kinds:
            raise ConfigError(f"{name}: unknown; a training has the settings {', '.join(kinds)}")
        try:
            TypeAdapter(kinds[name]).validate_python(value, strict=True)
        except ValidationError as error:
            raise ConfigError(f"{name}: {error.errors()[0]['msg']}") from None
    return replace(_DEFAULTS.get(spec.name, TrainSettings()), **changes)
