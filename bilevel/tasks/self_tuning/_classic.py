"""Batches of Gymnasium's CartPole and Acrobot, with a random stream for each seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating[Any]]


class Dynamics(NamedTuple):
    """An environment as functions of its state, [4, ...]."""

    features: int
    """Numbers of an observation."""
    actions: int
    limit: int
    """Steps after which an episode is truncated."""
    start: float
    """Bound of the absolute values of a start state, which is uniform."""
    start_type: type[np.floating[Any]]
    step: Callable[[Numbers, NDArray[np.int64]], tuple[Numbers, Numbers, NDArray[np.bool_]]]
    """(state, action) -> next state, reward, terminated."""
    observe: Callable[[Numbers], Numbers]
    """State -> observation, [..., feature]."""


def step_cart_pole(state: Numbers, action: NDArray[np.int64]) -> tuple[Numbers, Numbers, NDArray[np.bool_]]:
    """One step of CartPole-v1: position, velocity, angle and angular velocity after a push left or right.

    Args:
        state: [4, ...], in meters, radians and seconds.
        action: 0 left, 1 right, [...].

    Returns:
        The next state, the reward 1, and whether the pole fell or the cart left the track.

    Source:
        Gymnasium 1.4, `CartPoleVectorEnv.step`, bit-for-bit; Barto, Sutton and Anderson 1983.
    """
    x, x_speed, angle, angle_speed = state
    gravity, cart, pole, half, push, tau = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
    total, moment = pole + cart, pole * half
    force = np.sign(action - 0.5) * push
    cosine, sine = np.cos(angle), np.sin(angle)
    shared = (force + moment * np.square(angle_speed) * sine) / total
    turn = (gravity * sine - cosine * shared) / (half * (4.0 / 3.0 - pole * np.square(cosine) / total))
    push_back = shared - moment * turn * cosine / total
    after = np.stack(
        (x + tau * x_speed, x_speed + tau * push_back, angle + tau * angle_speed, angle_speed + tau * turn)
    )
    fallen = np.abs(after[2]) > 12 * 2 * math.pi / 360
    return after, np.ones_like(angle), (np.abs(after[0]) > 2.4) | fallen


def step_acrobot(state: Numbers, action: NDArray[np.int64]) -> tuple[Numbers, Numbers, NDArray[np.bool_]]:
    """One step of Acrobot-v1: two angles and their velocities after a torque at the middle joint.

    Args:
        state: [4, ...], in radians and seconds.
        action: 0, 1 or 2 for a torque of -1, 0 or 1, [...].

    Returns:
        The next state; the reward, -1 until the tip is above its bar, and 0 then; and whether it is.

    Source:
        Gymnasium 1.4, `AcrobotEnv.step`, up to rounding; Sutton, NIPS 1996.
    """
    torque = action - 1.0
    after = _runge_kutta(lambda now: _acrobot_speeds(now, torque), state, 0.2)
    angles = [np.mod(angle + math.pi, 2 * math.pi) - math.pi for angle in after[:2]]
    speeds = [
        np.clip(speed, -limit * math.pi, limit * math.pi)
        for speed, limit in zip(after[2:], (4, 9), strict=True)
    ]
    after = np.stack((*angles, *speeds))
    up = -np.cos(after[0]) - np.cos(after[1] + after[0]) > 1.0
    return after, np.where(up, 0.0, -1.0), up


def _acrobot_speeds(state: Numbers, torque: Numbers) -> Numbers:
    """Derivatives of the state; both links have mass and length 1, center 0.5, and inertia 1."""
    first, second, first_speed, second_speed = state
    g, half = 9.8, 0.5
    d1 = half**2 + (1 + half**2 + 2 * half * np.cos(second)) + 1 + 1
    d2 = half**2 + half * np.cos(second) + 1
    phi2 = half * g * np.cos(first + second - math.pi / 2)
    phi1 = (
        -half * second_speed**2 * np.sin(second)
        - 2 * half * second_speed * first_speed * np.sin(second)
        + (half + 1) * g * np.cos(first - math.pi / 2)
        + phi2
    )
    turn2 = (torque + d2 / d1 * phi1 - half * first_speed**2 * np.sin(second) - phi2) / (
        half**2 + 1 - d2**2 / d1
    )
    return np.stack((first_speed, second_speed, -(d2 * turn2 + phi1) / d1, turn2))


def _runge_kutta(slope: Callable[[Numbers], Numbers], state: Numbers, time: float) -> Numbers:
    """The classical step of order 4."""
    k1 = slope(state)
    k2 = slope(state + time / 2 * k1)
    k3 = slope(state + time / 2 * k2)
    k4 = slope(state + time * k3)
    return state + time / 6.0 * (k1 + 2 * k2 + 2 * k3 + k4)


def _observe_acrobot(state: Numbers) -> Numbers:
    first, second, *speeds = state
    return np.stack((np.cos(first), np.sin(first), np.cos(second), np.sin(second), *speeds), -1)


ENVIRONMENTS: dict[str, Dynamics] = {
    "cart-pole": Dynamics(
        4, 2, 500, 0.05, np.float64, step_cart_pole, lambda state: np.moveaxis(state, 0, -1)
    ),
    "acrobot": Dynamics(6, 3, 500, 0.1, np.float32, step_acrobot, _observe_acrobot),
}
"""Name -> environment."""


class Transition(NamedTuple):
    """One step of all copies; [seed, copy] each, observations [seed, copy, feature]."""

    rewards: Numbers
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    """Ended by the limit of steps, though not terminated."""
    following: Numbers
    """Observations after the step, before a finished episode starts anew."""
    observed: Numbers
    """The same, but of the start of the next episode where one finished."""


class Copies:
    """Copies of an environment for each seed; a finished episode starts anew in the same step."""

    def __init__(self, dynamics: Dynamics, copies: int, seeds: Sequence[int]) -> None:
        self.dynamics = dynamics
        self._streams = [np.random.default_rng(seed) for seed in seeds]
        self._state: Numbers = np.zeros((4, len(seeds), copies))
        self._steps = np.zeros((len(seeds), copies), np.int64)
        self._restart(np.ones((len(seeds), copies), bool))

    @property
    def observed(self) -> Numbers:
        """Observations of all copies, [seed, copy, feature]."""
        return self.dynamics.observe(self._state)

    def step(self, actions: NDArray[np.int64]) -> Transition:
        """Take one action in each copy, [seed, copy]."""
        self._state, rewards, terminated = self.dynamics.step(self._state, actions)
        self._steps += 1
        truncated = (self._steps >= self.dynamics.limit) & ~terminated
        following = self.observed.copy()  # restarts write into the state
        finished = terminated | truncated
        if finished.any():
            self._restart(finished)
        return Transition(rewards, terminated, truncated, following, self.observed)

    def _restart(self, finished: NDArray[np.bool_]) -> None:
        bound = self.dynamics.start
        for seed in np.flatnonzero(finished.any(1)):
            own = finished[seed]
            start = self._streams[seed].uniform(-bound, bound, (4, own.sum()))
            self._state[:, seed, own] = start.astype(self.dynamics.start_type)
        self._steps[finished] = 0
