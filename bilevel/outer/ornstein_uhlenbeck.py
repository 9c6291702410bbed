"""Noise that goes on from step to step, for exploring what is not an action."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.errors import require
from games.streams import normal


@dataclass(frozen=True, kw_only=True)
class OrnsteinUhlenbeck:
    """The Ornstein-Uhlenbeck process in steps: x' = x + theta (mean - x) dt + sigma sqrt(dt) n, n normal.

    Raises:
        ValueError: theta or dt is not above 0, their product reaches 2 (steps would grow without bound), or
            sigma is negative.

    Source:
        Uhlenbeck and Ornstein 1930; as exploration: Lillicrap et al., arXiv 1509.02971. The defaults are
        those of LToS's code.

    >>> OrnsteinUhlenbeck(dt=1e-9).variance  # nearly sigma^2 / (2 theta)
    0.2083...
    """

    theta: float = 0.15
    """How fast it goes back to its mean, per unit of time, above 0."""
    sigma: float = 0.25
    """Standard deviation that a unit of time adds, 0 or more."""
    dt: float = 0.01
    """Time of a step, above 0; theta dt is below 2."""

    def __post_init__(self) -> None:
        for name, value in (("theta", self.theta), ("dt", self.dt)):
            require(
                0 < value < math.inf, f"{name} of the noise must be a finite number above 0, not {value}."
            )
        require(
            0 <= self.sigma < math.inf, f"sigma of the noise must be finite and 0 or more, not {self.sigma}."
        )
        require(
            self.theta * self.dt < 2,
            f"theta dt of the noise must be below 2, or it grows for ever; it is {self.theta * self.dt}.",
        )

    @property
    def variance(self) -> float:
        """The variance it settles at: sigma^2 / (theta (2 - theta dt)); for small dt, sigma^2 / (2 theta)."""
        return self.sigma**2 / (self.theta * (2 - self.theta * self.dt))

    def start(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Means to start at and go back to, as LToS draws them: normal, of standard deviation sigma.

        Args:
            like: has their shape, dtype and device.
            generator: the source of the draws.
        """
        return self.sigma * normal(like.shape, generator, like.dtype)

    def step(self, noise: Tensor, mean: Tensor, generator: torch.Generator) -> Tensor:
        """One step from `noise`, towards `mean`, of the same shape."""
        pushed = self.sigma * math.sqrt(self.dt) * normal(noise.shape, generator, noise.dtype)
        return noise + self.theta * self.dt * (mean - noise) + pushed
