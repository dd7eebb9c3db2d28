"""Electrocardiograms from a model, after McSharry et al. 2003 ("A dynamical model for generating
synthetic electrocardiogram signals", IEEE Trans. Biomed. Eng. 50(3)).

A beat is five waves (P, Q, R, S, T), each a Gaussian bump at an angle of the heart's cycle. Here
the bumps are added up directly, which is that model's orbit without its slow return to the
baseline; heights and widths are ours.
Every person has bumps and a pulse of their own. Windows are 2 s at 64 Hz, in millivolts.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]

RATE_HZ = 64
POINTS = 128
NAMES = ("normal", "premature ventricular beat", "atrial fibrillation")
# Angle in the cycle (the model's), height in mV, width in the cycle (radians).
_ANGLES = np.array([-np.pi / 3, -np.pi / 12, 0.0, np.pi / 12, np.pi / 2])
_HEIGHTS = np.array([0.12, -0.12, 1.0, -0.2, 0.3])
_WIDTHS = np.array([0.25, 0.1, 0.1, 0.1, 0.4])
_NOISE_MV = 0.02


def windows(
    people: int, each: int, rng: np.random.Generator
) -> tuple[Reals, npt.NDArray[np.int64]]:
    """Return `each` windows of every person: millivolts (n, 1, 1, POINTS), and rhythms (n,).

    Rhythms are places in NAMES, and each is about as frequent as the others.
    """
    found, kinds = [], []
    for _ in range(people):
        heights = _HEIGHTS * rng.normal(1, 0.2, 5)
        widths = _WIDTHS * rng.normal(1, 0.1, 5)
        pulse_s = rng.uniform(0.6, 1.1)
        for kind in rng.integers(len(NAMES), size=each):
            found.append(_window(heights, widths, pulse_s, int(kind), rng))
            kinds.append(kind)
    return np.stack(found)[:, None, None], np.array(kinds, dtype=np.int64)


def _window(
    heights: Reals, widths: Reals, pulse_s: float, kind: int, rng: np.random.Generator
) -> Reals:
    seconds = np.arange(POINTS) / RATE_HZ
    length = POINTS / RATE_HZ
    spread = 0.25 if kind == 2 else 0.03  # fibrillation beats irregularly
    gaps = pulse_s * np.clip(rng.normal(1, spread, 8), 0.45, 1.8)
    beats = np.cumsum(gaps) - gaps[0] - rng.uniform(0, pulse_s)
    early = rng.choice(np.flatnonzero((beats > 0.2) & (beats < length - 0.2))) if kind == 1 else -1
    wave = np.zeros(POINTS)
    for place, (beat, gap) in enumerate(zip(beats, gaps, strict=True)):
        if place == early:
            wave += _ventricular(seconds, beat - 0.25 * gap, heights)
        else:
            shown = heights * (0 if kind == 2 else 1, 1, 1, 1, 1)  # fibrillation has no P wave
            wave += _bumps(seconds, beat, gap, shown, widths)
    if kind == 2:  # but the trembling of the atria
        wave += 0.05 * np.sin(2 * np.pi * rng.uniform(5, 7) * seconds + rng.uniform(0, 2 * np.pi))
    breath = 0.05 * np.sin(2 * np.pi * rng.uniform(0.2, 0.35) * seconds + rng.uniform(0, 2 * np.pi))
    noisy: Reals = wave + breath + rng.normal(0, _NOISE_MV, POINTS)
    return noisy


def _bumps(seconds: Reals, beat: float, gap: float, heights: Reals, widths: Reals) -> Reals:
    centres, spreads = beat + _ANGLES * gap / (2 * np.pi), widths * gap / (2 * np.pi)
    apart = (seconds[:, None] - centres) / spreads
    summed: Reals = (heights * np.exp(-0.5 * apart**2)).sum(1)
    return summed


def _ventricular(seconds: Reals, beat: float, heights: Sequence[float] | Reals) -> Reals:
    """A beat from the ventricle: no P wave, a broad R wave, and T upside down."""
    broad = 1.1 * heights[2] * np.exp(-0.5 * ((seconds - beat) / 0.05) ** 2)
    down: Reals = broad - 1.3 * heights[4] * np.exp(-0.5 * ((seconds - beat - 0.22) / 0.07) ** 2)
    return down
