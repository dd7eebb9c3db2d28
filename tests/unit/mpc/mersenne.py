"""Clone a Mersenne Twister from 624 of its outputs (docs/explanation/references.md#crypten)."""

import numpy as np
import torch

STATE_WORDS = 624
# One 64-bit mask takes two outputs.
MASKS_NEEDED = STATE_WORDS // 2


def untempered(output: int) -> int:
    """The state word behind one 32-bit output: the four tempering steps, undone in reverse."""
    y = output ^ (output >> 18)
    y ^= (y << 15) & 0xEFC60000
    before = y
    for _ in range(5):
        y = before ^ ((y << 7) & 0x9D2C5680)
    before = y
    for _ in range(3):
        y = before ^ (y >> 11)
    return y & 0xFFFFFFFF


def clone(masks: np.ndarray) -> np.random.MT19937:
    """The generator, positioned behind `masks`: consecutive int64 ring elements as CrypTen draws
    them, torch.randint(-2^63, 2^63 - 1), at least 312.
    """
    raw = masks.astype(np.uint64) + np.uint64(1 << 63)
    words = []
    for value in raw[-MASKS_NEEDED:].tolist():
        words += [value >> 32, value & 0xFFFFFFFF]
    generator = np.random.MT19937()
    generator.state = {
        "bit_generator": "MT19937",
        "state": {"key": np.array([untempered(w) for w in words], np.uint32), "pos": STATE_WORDS},
    }
    return generator


def predicted(generator: np.random.MT19937, count: int) -> np.ndarray:
    """The next `count` masks of the cloned generator, as uint64."""
    high, low = generator.random_raw(2 * count).reshape(count, 2).T
    return ((high << np.uint64(32)) | low) - np.uint64(1 << 63)


def cryptens_masks(seed: int, count: int) -> np.ndarray:
    """What CrypTen's providers draw: the masks of a torch generator, as uint64."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(-(2**63), 2**63 - 1, (count,), generator=generator, dtype=torch.long)
    masks: np.ndarray = drawn.numpy().view(np.uint64)
    return masks
