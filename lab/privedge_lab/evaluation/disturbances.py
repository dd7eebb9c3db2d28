"""What happens to an image between the scene and the query: compression, blur, noise, light.

Sees plaintext images, uint8 (n, H, W) or (n, H, W, 3), and gives back others of that shape; the
originals are left as they are. Noise is drawn from the seed given; a level is

    jpeg         quality of a real JPEG file, 1 to 100 (colour at half resolution, as usual)
    blur         standard deviation of a Gaussian in pixels; 0 changes nothing
    noise        standard deviation of Gaussian noise, of 255; 0 changes nothing
    brightness   factor on every pixel; 1 changes nothing
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter

from privedge.arrays import Pixels
from privedge.errors import ConfigError

NONE = "none"
# What is measured if no levels are given, mild ones first.
LEVELS: dict[str, tuple[float, ...]] = {
    "jpeg": (90, 70, 50, 30, 20, 10, 5),
    "blur": (0.5, 1, 1.5, 2, 3),
    "noise": (5, 10, 20, 40, 60),
    "brightness": (0.75, 0.5, 0.25, 1.25, 1.5, 2),
}


@dataclass(frozen=True)
class Disturbance:
    """One kind at one level; `none` at level 0 is the reference."""

    name: str
    level: float

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        if self.name not in (NONE, *LEVELS):
            known = ", ".join(LEVELS)
            raise ConfigError(f"disturb {self.name!r} is unknown; choose from {known}")
        if not 0 <= self.level <= 255:
            raise ConfigError(f"disturb {self.name} {self.level:g}: give a level from 0 to 255")
        if self.name == "jpeg" and self.level not in range(1, 101):
            raise ConfigError(f"disturb jpeg {self.level:g}: give a quality from 1 to 100")

    def applied(self, images: Pixels, seed: int) -> Pixels:
        """`images`, disturbed; noise is the same at all levels but for its strength."""
        if self.name == "jpeg":
            return np.stack([_jpeg(image, int(self.level)) for image in images])
        if self.name == "blur":
            return _blurred(images, self.level)
        if self.name == "noise":
            drawn = np.random.default_rng(seed).standard_normal(images.shape, np.float32)
            return _rounded(images + np.float32(self.level) * drawn)
        if self.name == "brightness":
            return _rounded(images * np.float32(self.level))
        return images.copy()


REFERENCE = Disturbance(NONE, 0)


def chosen(text: str) -> list[Disturbance]:
    """Kinds with commas between them, each perhaps with levels of its own: `jpeg:50:5,blur`.

    Raises ConfigError.
    """
    found: list[Disturbance] = []
    for kind in text.split(","):
        name, *levels = kind.split(":")
        found += [Disturbance(name, level) for level in _levels(name, levels)]
    return list(dict.fromkeys(found))


def _levels(name: str, levels: Sequence[str]) -> Sequence[float]:
    if not levels:
        # An unknown kind is refused where every kind is checked.
        return LEVELS.get(name, (0,))
    try:
        return [float(level) for level in levels]
    except ValueError:
        raise ConfigError(f"disturb {name}: levels are numbers, as in jpeg:50:5") from None


def _jpeg(image: Pixels, quality: int) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file), np.uint8)


def _blurred(images: Pixels, sigma: float) -> Pixels:
    # Over height and width, never over images or colours.
    sigmas = (0, sigma, sigma, 0)[: images.ndim]
    return _rounded(gaussian_filter(images.astype(np.float32), sigmas, mode="nearest"))


def _rounded(pixels: npt.NDArray[np.float32]) -> Pixels:
    return pixels.round().clip(0, 255).astype(np.uint8)
