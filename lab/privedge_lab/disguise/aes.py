"""AES-128 in ECB mode on blocks of 4 x 4 bytes, the ciphertext used as pixels.

ECB is intended: under ECB equal blocks stay equal, and the network learns from that. So does an
adversary. Pixels are rounded to bytes; ciphertext bytes are divided by 255 to become pixels.
"""

import torch
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from privedge_lab.disguise.blocks import enlarge
from privedge_lab.disguise.keys import KeyStream
from privedge_lab.disguise.settings import Aes

_KEY_BYTES = 16


class AesTransform:
    """The ciphers of all positions. Secret; no useful repr."""

    def __init__(self, secret: bytes, settings: Aes, positions: int) -> None:
        self._enlargement = settings.enlargement
        count = 1 if settings.keys == "one" else positions
        keys = (KeyStream(secret, "aes key", at).octets(_KEY_BYTES) for at in range(count))
        # S305: ECB is the method under study.
        self._ciphers = [Cipher(algorithms.AES(key), modes.ECB()) for key in keys]  # noqa: S305

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        """Encrypt blocks (n, C, positions, b, b) in [0, 1] to float32 (n, C, positions, 4, 4).

        The result is in [0, 1], in whole 255ths.
        """
        pixels = enlarge(to_bytes(blocks), self._enlargement)
        return self._all(pixels, decrypt=False).float() / 255

    def inverse(self, blocks: torch.Tensor) -> torch.Tensor:
        """Undo `forward`: exact for pixels that were whole 255ths."""
        pixels = self._all(to_bytes(blocks), decrypt=True)
        return pixels[..., :: self._enlargement, :: self._enlargement].float() / 255

    def _all(self, pixels: torch.Tensor, *, decrypt: bool) -> torch.Tensor:
        """Pass uint8 blocks (n, C, positions, 4, 4) through the ciphers of their positions."""
        # Positions come first, so that one call handles all blocks of one key.
        ordered = pixels.movedim(2, 0).contiguous()
        parts = ordered.reshape(len(self._ciphers), -1).contiguous()
        for part, cipher in zip(parts, self._ciphers, strict=True):
            _run(cipher.decryptor() if decrypt else cipher.encryptor(), part)
        return parts.reshape(ordered.shape).movedim(0, 2)


def to_bytes(pixels: torch.Tensor) -> torch.Tensor:
    """Round pixels in [0, 1] to the nearest uint8."""
    return (pixels * 255).round().clamp(0, 255).to(torch.uint8)


def _run(context: CipherContext, part: torch.Tensor) -> None:
    text = context.update(part.numpy().tobytes())
    part.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
