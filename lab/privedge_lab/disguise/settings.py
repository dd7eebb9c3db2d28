"""The kind of a disguise, as data. It is public: an adversary may know all of it, but no key.

`block` is the side of the square blocks, in pixels. `shuffle` also moves the blocks, by one
permutation for the whole data set.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

AES_SIDE = 4  # an AES block has 16 bytes: 4 x 4 pixels of one channel

MAX_BLOCK = 64


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rmt(_Frozen):
    """Randomised multidimensional transformation: each block X becomes X R, with its position's R.

    `orthogonal`: R is Haar-distributed. `projection`: entries uniform in [0, 1), well conditioned.
    `noise`: the width of uniform noise [0, noise) on pixels in [0, 1], fresh for every image.
    `before` is the paper's R(X + D), `after` its released code. Without noise and shuffle, equal
    blocks at one position stay equal.
    """

    kind: Literal["rmt"] = "rmt"
    block: int = Field(default=4, ge=2, le=MAX_BLOCK)
    matrix: Literal["orthogonal", "projection"] = "orthogonal"
    shuffle: bool = True
    noise: float = Field(default=0.0, ge=0, le=10)
    noise_when: Literal["before", "after"] = "before"


class Permutation(_Frozen):
    """Move the blocks, and otherwise leave them unchanged."""

    kind: Literal["permutation"] = "permutation"
    block: int = Field(default=4, ge=1, le=MAX_BLOCK)

    @property
    def shuffle(self) -> bool:
        """Always true."""
        return True

    @property
    def noise(self) -> float:
        """Always 0."""
        return 0.0


class Aes(_Frozen):
    """AES-128 in ECB mode on 4 x 4 pixels of one channel; smaller blocks are enlarged first.

    `keys`: one key for all positions, or one for each.
    """

    kind: Literal["aes"] = "aes"
    block: Literal[1, 2, 4] = 4
    keys: Literal["one", "each"] = "one"
    shuffle: bool = False

    @property
    def noise(self) -> float:
        """Always 0: ciphertexts of noisy images would have nothing in common."""
        return 0.0

    @property
    def enlargement(self) -> int:
        """How many times each pixel is repeated in either direction."""
        return AES_SIDE // self.block


Settings = Annotated[Rmt | Permutation | Aes, Field(discriminator="kind")]


class Sized(_Frozen):
    """A disguise for images of one size: (channels, height, width)."""

    settings: Settings
    image: tuple[int, int, int]

    @model_validator(mode="after")
    def _sound(self) -> "Sized":
        if self.image[0] not in (1, 3) or not all(1 <= side <= 1024 for side in self.image[1:]):
            raise ValueError("image: (channels 1 or 3, height, width), sides 1 to 1024")
        return self
