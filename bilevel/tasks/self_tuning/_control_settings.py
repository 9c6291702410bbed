"""Settings of `actor-critic`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bilevel.core import Range
from games.core import require, require_name

BOUNDS = {
    "discount": 1.0, "trace_lambda": 1.0, "leak": 1.0, "policy_coef": 2.0, "value_coef": 1.0, "ent_coef": 1.0,
}  # fmt: skip
"""The hyper-parameters that can be tuned, in the order of the outer variables, and their upper bounds."""

EnvironmentName = Literal["cart-pole", "acrobot"]


@dataclass(frozen=True, kw_only=True)
class ActorCriticSettings:
    """Environment, actor-critic and self-tuning of `actor-critic`.

    Raises:
        ValueError: a setting is out of range, or there are too few environment steps.

    >>> ActorCriticSettings(environment_steps=12_800).steps
    100
    >>> ActorCriticSettings(environment="mountain-car")
    Traceback (most recent call last):
    ValueError: There is no environment 'mountain-car'. Known: cart-pole, acrobot.
    """

    environment: EnvironmentName = "cart-pole"
    """Gymnasium's CartPole-v1 or Acrobot-v1."""
    environment_steps: int = 200_000
    """Environment steps of a seed, those of all its copies together."""
    num_envs: int = 8
    """Copies of the environment for each seed, 1 or more."""
    rollout_steps: int = 16
    """Steps of each copy in a rollout, 1 or more."""
    update_epochs: int = 2
    """Gradient steps on each rollout, 1 or more; the leak of importance ratios needs 2 or more."""
    hidden_size: int = 64
    """Units of the hidden layer that policy and critic share, 1 or more."""
    learning_rate: float = 0.003
    """Learning rate of Adam, above 0."""
    discount: float = 0.99
    """Discount per step, above 0 and below 1; where it is tuned, the initial and the reference value."""
    trace_lambda: float = 0.95
    """Lambda of the traces, likewise."""
    leak: float = 0.9
    """Weight of clipped importance ratios against those without clipping, likewise."""
    policy_coef: float = 1.0
    """Weight of the policy's loss, above 0 and below 2, likewise."""
    value_coef: float = 0.25
    """Weight of the critic's loss, above 0 and below 1, likewise."""
    ent_coef: float = 0.01
    """Weight of the entropy, above 0 and below 1, likewise."""
    kl_coef: float = 1.0
    """Weight of the divergence from the old policy in the outer loss of `stac` and `stacx`, 0 or more."""
    auxiliary_heads: int = 2
    """Further heads of `stacx`, with hyper-parameters of their own, 1 or more."""
    target_rollouts: int = 2
    """Rollouts that lead to the target of `bootstrapped`, 1 or more."""
    outer_learning_rate: float = 0.001
    """Learning rate of Adam on the hyper-parameters, above 0."""

    def __post_init__(self) -> None:
        require_name(self.environment, ("cart-pole", "acrobot"), "environment")
        for name in (
            "num_envs", "rollout_steps", "update_epochs", "hidden_size", "auxiliary_heads", "target_rollouts",
        ):  # fmt: skip
            value = getattr(self, name)
            require(value >= 1, f"{name} must be 1 or more, not {value}.")
        for name in ("learning_rate", "outer_learning_rate"):
            Range(above=0).require(name, getattr(self, name))
        for name, bound in BOUNDS.items():
            value = getattr(self, name)
            require(0 < value < bound, f"{name} must be above 0 and below {bound:g}, not {value}.")
        Range(min=0).require("kl_coef", self.kl_coef)
        minimum = (1 + self.target_rollouts) * self.update_steps
        require(
            self.environment_steps >= minimum,
            f"environment_steps must be {minimum} or more, not {self.environment_steps}: an outer step takes "
            f"up to {1 + self.target_rollouts} rollouts of num_envs x rollout_steps = {self.update_steps} "
            "environment steps.",
        )

    @property
    def update_steps(self) -> int:
        """Environment steps of a rollout."""
        return self.num_envs * self.rollout_steps

    @property
    def steps(self) -> int:
        """Rollouts of a trial."""
        return self.environment_steps // self.update_steps
