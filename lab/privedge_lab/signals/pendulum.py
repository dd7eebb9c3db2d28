"""A swinging limb, as a sensor on it sees it: a damped pendulum, and its length to be found.

    angle'' = -(g / length) sin(angle) - damping * angle'

is solved by steps of Runge and Kutta. The sensor is at the end: an accelerometer along the limb,
which feels g cos(angle) + length * angle'^2, and a gyroscope, which has angle'. Windows are 64
points at 25 Hz of both; the length is in metres.
"""

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]

RATE_HZ = 25
POINTS = 64
_GRAVITY = 9.81
_STEPS = 8  # between two points
_NOISE = np.array([0.2, 0.05])  # m/s^2, rad/s


def windows(count: int, rng: np.random.Generator) -> tuple[Reals, Reals]:
    """Return what the sensor has, (n, 2, 1, POINTS) in m/s^2 and rad/s, and lengths in m (n,)."""
    length, damping = rng.uniform(0.3, 1.2, count), rng.uniform(0.02, 0.4, count)
    state = np.stack([rng.uniform(-1.0, 1.0, count), rng.uniform(-2.0, 2.0, count)])

    def change(now: Reals) -> Reals:
        return np.stack([now[1], -_GRAVITY / length * np.sin(now[0]) - damping * now[1]])

    step, seen = 1 / (RATE_HZ * _STEPS), []
    for _ in range(POINTS):
        seen.append(np.stack([_GRAVITY * np.cos(state[0]) + length * state[1] ** 2, state[1]], 1))
        for _ in range(_STEPS):
            first = change(state)
            second = change(state + step / 2 * first)
            third = change(state + step / 2 * second)
            fourth = change(state + step * third)
            state = state + step / 6 * (first + 2 * second + 2 * third + fourth)
    signals = np.stack(seen, axis=2)
    signals = signals + rng.normal(size=signals.shape) * _NOISE[:, None]
    return signals[:, :, None], length
